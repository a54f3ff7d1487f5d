#!/bin/sh
# Git credential helper of a Sardonyx session: answers for the hosts of the person's Git accounts, from a file that the agent
# renews, and keeps nothing. Usage: git-credential.sh RUN_DIR get|store|erase. Builtins only: about a millisecond.
run=$1
action=$2
case $action in get | erase) ;; *) exit 0 ;; esac

protocol='' host='' asked=''
while IFS= read -r line && [ -n "$line" ]; do
  case $line in
    protocol=*) protocol=${line#protocol=} ;;
    host=*) host=${line#host=} ;;
    username=*) asked=${line#username=} ;;
  esac
done
case $protocol in
  https) ;;
  http) case $host in localhost | localhost:* | 127.*.*.*) ;; *) exit 0 ;; esac ;;
  *) exit 0 ;;
esac
[ -n "$host" ] && [ -r "$run/git.list" ] || exit 0

separator=$(printf '\037')
while IFS=$separator read -r known user token _rest; do
  [ "$known" = "$host" ] || continue
  [ -z "$asked" ] || [ "$asked" = "$user" ] || continue
  if [ "$action" = erase ]; then
    # Git was refused with what it got here: have the agent ask for the token again.
    : >"$run/refresh.request"
  else
    printf 'username=%s\npassword=%s\n' "$user" "$token"
  fi
  exit 0
done <"$run/git.list"
exit 0
