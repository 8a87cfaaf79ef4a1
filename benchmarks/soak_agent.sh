# An agent process for `benchmarks/soak.py`: answers every request, has a child of its own, and fails in some of its episodes.
# Usage: sh soak_agent.sh FILE; the name of each fault is appended to FILE.
sleep 600 &
draw=$(($(od -An -N2 -tu2 /dev/urandom) % 1000))
while read -r line; do
  if [ $draw -lt 10 ]; then echo crash >>"$1"; exit 3; fi
  if [ $draw -ge 10 ] && [ $draw -lt 20 ]; then echo garbage >>"$1"; echo 'Loading the model ...'; fi
  if [ $draw -ge 20 ] && [ $draw -lt 24 ]; then echo hang >>"$1"; sleep 600; fi
  echo '{"text": "<action>look</action>"}'
done
