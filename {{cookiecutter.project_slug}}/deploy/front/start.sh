[ -f /state/haproxy.cfg ] || cp /etc/haproxy/haproxy.cfg /state/
[ -f /state/switches ] || echo "mirror off" >/state/switches
touch /state/servers
# Only the engine's own name server knows the slots; another one would say that there are none.
NAMESERVER=$(sed -n 's/^nameserver //p' /etc/resolv.conf | head -n 1)
export NAMESERVER
exec haproxy -W -db -f /state/haproxy.cfg
