[ -f /state/haproxy.cfg ] || cp /etc/haproxy/haproxy.cfg /state/
[ -f /state/switches ] || echo "mirror off" >/state/switches
touch /state/servers
exec haproxy -W -db -f /state/haproxy.cfg
