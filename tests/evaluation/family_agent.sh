# An agent process with a family: a child, and a grandchild that has left its process group. Plays `tests.toy`, slowly.
# Usage: sh family_agent.sh SECONDS FILE; the ids of the three processes are appended to FILE. It is quick once FILE.fast exists.
sleep 600 &
child=$!
setsid sleep 600 &
echo "$$ $child $!" >>"$2"
while read -r line; do
  case $line in
    *"The note says "*) door=${line##*The note says }; door=${door%%.*} ;;
    *) door=1 ;;
  esac
  [ -e "$2.fast" ] || sleep "$1"
  echo "{\"text\": \"<action>open door $door</action>\"}"
done
