BEST = {}
