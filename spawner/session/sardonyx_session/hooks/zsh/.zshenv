# Keeps the environment of a zsh equal to what the session's agent last wrote. zsh finds this file because ZDOTDIR leads here;
# the person's own start-up files follow, from where they would have been read without us.
if [[ -n ${SARDONYX_ZDOTDIR-} ]]; then
  export ZDOTDIR=$SARDONYX_ZDOTDIR
else
  unset ZDOTDIR
fi

__sardonyx_sync() {
  emulate -L zsh
  local generation=''
  { IFS= read -r generation <"$SARDONYX_RUN/generation" } 2>/dev/null
  if [[ -n $generation && $generation != ${SARDONYX_GENERATION-} ]]; then
    . "$SARDONYX_RUN/hook.sh" 2>/dev/null
  fi
  return 0
}

__sardonyx_first_prompt() {
  emulate -L zsh
  add-zsh-hook -d precmd __sardonyx_first_prompt
  local entry missing=''
  for entry in ${(s.:.)SARDONYX_PATH-}; do
    [[ ":$PATH:" == *":$entry:"* ]] || missing+=$entry:
  done
  PATH=$missing$PATH
  if [[ -n ${SARDONYX_NOTICE-} && -s $SARDONYX_NOTICE && -z ${SARDONYX_NOTICE_SHOWN-} ]]; then
    print -r -- "$(<$SARDONYX_NOTICE)"
    export SARDONYX_NOTICE_SHOWN=1
  fi
}

if [[ -n ${SARDONYX_RUN-} ]]; then
  __sardonyx_sync
  if [[ -o interactive ]]; then
    autoload -Uz add-zsh-hook
    add-zsh-hook precmd __sardonyx_first_prompt
    add-zsh-hook precmd __sardonyx_sync
    add-zsh-hook preexec __sardonyx_sync
  fi
fi

if [[ -r ${ZDOTDIR:-$HOME}/.zshenv ]]; then
  . "${ZDOTDIR:-$HOME}/.zshenv"
fi
