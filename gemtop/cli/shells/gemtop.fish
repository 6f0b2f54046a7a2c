# Completion of gemtop for fish, printed by: gemtop completion fish
function __gemtop_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l current (string unescape -- $typed 2>/dev/null; or string replace -r '^["\']' '' -- $typed)
    set -l program (string replace -r '^~/' $HOME/ -- $words[1])
    $program __complete fish $words[2..] "$current" 2>/dev/null
end
complete -c gemtop -f -k -a '(__gemtop_complete)'
