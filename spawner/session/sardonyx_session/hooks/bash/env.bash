# shellcheck shell=bash
# Keeps the environment of a bash equal to what the session's agent last wrote. Read through BASH_ENV by scripts, and at the
# first prompt of interactive shells through PROMPT_COMMAND from the environment, or by /etc/bash.bashrc where that is ours.
# Builtins only. What is inside the braces says nothing, not even under `set -x`; $? and $_ pass through.
{
  __sardonyx_status=$? __sardonyx_arm=''

  __sardonyx_sync() {
    local status=$? generation=''
    {
      IFS= read -r generation <"$SARDONYX_RUN/generation"
      if [[ -n $generation && $generation != "${SARDONYX_GENERATION-}" ]]; then
        . "$SARDONYX_RUN/hook.sh"
      fi
    } 2>/dev/null
    return "$status"
  }

  # A login shell has run /etc/profile, which starts PATH anew: put the session's folders back, behind what the person's own
  # start-up files have put in front.
  __sardonyx_path() {
    local entry first='' missing='' IFS=:
    for entry in $SARDONYX_PATH; do
      case ":$PATH:" in *":$entry:"*) ;; *) missing+=$entry: ;; esac
    done
    [[ -n $missing ]] || return 0
    for entry in $PATH; do
      case ":$SARDONYX_PATH:" in *":$entry:"*) first=$entry && break ;; esac
    done
    entry=:$PATH:
    if [[ -n $first ]]; then
      entry=${entry%%":$first:"*}:$missing$first:${entry#*":$first:"}
    else
      entry=$entry$missing
    fi
    entry=${entry#:}
    PATH=${entry%:}
  }

  if [[ -n ${SARDONYX_RUN-} ]]; then
    __sardonyx_sync
    if shopt -q login_shell && [[ -n ${SARDONYX_PATH-} ]]; then
      __sardonyx_path
    fi
    if [[ $- == *i* && -z ${__sardonyx_prompt-} ]]; then
      __sardonyx_prompt=__sardonyx_sync
      # The prompt was drawn before a night; DEBUG makes the first command after it right. A trap of the person's own stays,
      # and replaces ours when it is set later. To be evaluated by whoever sources this: a sourced file does not see the trap.
      __sardonyx_arm='{ [[ -n $(trap -p DEBUG) ]] || trap "{ __sardonyx_sync \"\$_\"; } 2>/dev/null" DEBUG; } 2>/dev/null'
      case ${PROMPT_COMMAND[*]-} in
        *__sardonyx_prompt*) ;;
        '') PROMPT_COMMAND=__sardonyx_sync ;;
        *) PROMPT_COMMAND="__sardonyx_sync; $PROMPT_COMMAND" ;;
      esac
      if [[ -n ${SARDONYX_NOTICE-} && -s $SARDONYX_NOTICE && -z ${SARDONYX_NOTICE_SHOWN-} ]]; then
        printf '%s\n' "$(<"$SARDONYX_NOTICE")"
        export SARDONYX_NOTICE_SHOWN=1
      fi
    fi
  fi

  if [[ $- != *i* && -n ${SARDONYX_BASH_ENV-} && -r $SARDONYX_BASH_ENV ]]; then
    . "$SARDONYX_BASH_ENV" 2>&"$__sardonyx_stderr"
  fi
  exec {__sardonyx_stderr}>&-
  return "$__sardonyx_status"
} {__sardonyx_stderr}>&2 2>/dev/null
