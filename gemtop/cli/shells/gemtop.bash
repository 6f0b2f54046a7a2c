# Completion of gemtop for bash, printed by: gemtop completion bash
_gemtop() {
    local program=$1
    local -a answer
    [[ $program == "~/"* ]] && program=$HOME/${program:2}
    mapfile -t answer < <("$program" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    if [[ ${answer[0]} == nospace ]]; then compopt -o nospace 2>/dev/null; fi
    COMPREPLY=("${answer[@]:1}")
}
complete -F _gemtop gemtop
