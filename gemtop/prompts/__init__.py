"""What variants are asked when they are compared, and whether an answer is right."""
