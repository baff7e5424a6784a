# Part of the gpulab stand-in for conda: the shell function of conda >= 4.6, with the same variables.
export CONDA_EXE='@PREFIX@/bin/conda'
export _CE_M=''
export _CE_CONDA=''
export CONDA_PYTHON_EXE='@PREFIX@/bin/python'

__conda_activate() {
    # what the program prints is shell code for this shell
    local conda_standin_code
    conda_standin_code="$(PS1="${PS1:-}" "$CONDA_EXE" shell.posix "$@")" || return
    eval "$conda_standin_code"
    hash -r
}

conda() {
    case "${1-}" in
        activate | deactivate) __conda_activate "$@" ;;
        install | update | upgrade | remove | uninstall) "$CONDA_EXE" "$@" && __conda_activate reactivate ;;
        *) "$CONDA_EXE" "$@" ;;
    esac
}

if [ -z "${CONDA_SHLVL+set}" ]; then
    export CONDA_SHLVL=0
    export PATH="@PREFIX@/condabin${PATH:+:${PATH}}"
    PS1="${PS1-}"
fi
