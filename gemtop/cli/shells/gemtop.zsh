#compdef gemtop
# Completion of gemtop for zsh, printed by: gemtop completion zsh
_gemtop() {
    local program=${${(Q)words[1]}/#\~\//$HOME/} line value says files folders ending
    local -a parts complete open
    for line in "${(@f)$("$program" __complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}"; do
        parts=("${(@ps:\t:)line}")
        value=${parts[2]//\\/\\\\}
        value=${value//:/\\:}
        says=${parts[3]:+:$parts[3]}
        case $parts[1] in
            word) complete+=("$value$says") ;;
            open) open+=("$value$says") ;;
            files) files=1 ending=$parts[2] ;;
            folders) folders=1 ;;
        esac
    done
    local found=1
    (( $#complete )) && _describe -V -t values value complete && found=0
    (( $#open )) && _describe -V -t values value open -S '' && found=0
    if [[ -n $files$folders ]]; then
        [[ $PREFIX == --*=* ]] && compset -P '*='
        if [[ -n $folders ]]; then
            _files -/ && found=0
        else
            _files ${ending:+-g} ${ending:+"*$ending"} && found=0
        fi
    fi
    return found
}
if [[ $funcstack[1] == _gemtop ]]; then
    _gemtop "$@"
else
    compdef _gemtop gemtop
fi
