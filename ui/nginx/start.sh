#!/bin/sh
# Fills in nginx.conf.template and becomes nginx. Needs no root, and writes in RUN_DIR only.
#
# SERVING     the model server's REST API, host:port
# LISTEN      port, or address:port, that the page is served on
# SITE        the folder of the page's files
# CONFIG_DIR  the folder that may hold models.json
# RUN_DIR     a folder for temporary files, made where it is missing
# RESOLVER    address[:port] of a DNS server; the ones of /etc/resolv.conf if not set
set -eu

here=$(dirname "$0")
: "${SERVING:=vitrine:8501}" "${LISTEN:=8080}" "${SITE:=/usr/share/vitrine-ui}" "${CONFIG_DIR:=/etc/vitrine}"
: "${RUN_DIR:=/tmp/vitrine-ui}" "${RESOLVER:=}"

refuse() {
  printf 'vitrine-ui: %s\n' "$1" >&2
  exit 2
}

is_port() {
  case $1 in
  '' | *[!0-9]* | ??????*) return 1 ;;
  esac
  [ "$1" -ge 1 ] && [ "$1" -le 65535 ]
}

wanted="SERVING='$SERVING': give the model server's host:port, without http://, such as vitrine:8501"
host=${SERVING%:*}
port=${SERVING##*:}
[ "$host" != "$SERVING" ] && is_port "$port" || refuse "$wanted"
case $host in
\[*[!0-9A-Fa-f:.]*\] | '[]') refuse "$wanted" ;;
\[*\]) ;;
'' | -* | .* | *[!A-Za-z0-9._-]*) refuse "$wanted" ;;
esac

case $LISTEN in
*[!0-9.:]*) refuse "LISTEN='$LISTEN': give a port or address:port, such as 8080" ;;
esac
is_port "${LISTEN##*:}" || refuse "LISTEN='$LISTEN': give a port or address:port, such as 8080"

for name in SITE CONFIG_DIR RUN_DIR; do
  eval "path=\$$name"
  case $path in
  /*[!A-Za-z0-9._/-]* | [!/]*) refuse "$name='$path': give an absolute path of letters, digits and . _ - /" ;;
  esac
done
[ -r "$SITE/index.html" ] || refuse "SITE='$SITE': no index.html there that can be read"
mkdir -p "$RUN_DIR" 2>/dev/null && [ -w "$RUN_DIR" ] ||
  refuse "RUN_DIR='$RUN_DIR' cannot be written; mount a tmpfs there, or name another folder"

# nginx asks DNS alone, so what /etc/hosts says (localhost, host.docker.internal) is put in here.
case $host in
\[* | *[!0-9.]*)
  known=$(awk -v host="$host" '!/^#/ { for (i = 2; i <= NF; i++) if ($i == host) { print $1; exit } }' /etc/hosts)
  case $known in
  '') ;;
  *:*) host="[$known]" ;;
  *) host=$known ;;
  esac
  ;;
esac

if [ -z "$RESOLVER" ] && [ -r /etc/resolv.conf ]; then
  # IPv6 addresses in brackets, without the zone of a link.
  RESOLVER=$(awk '$1 == "nameserver" { sub(/%.*/, "", $2); printf "%s ", ($2 ~ /:/ ? "[" $2 "]" : $2) }' /etc/resolv.conf)
fi
case $RESOLVER in
*[!0-9A-Fa-f.:\[\]\ ]*) refuse "RESOLVER='$RESOLVER': give the address of a DNS server, such as 127.0.0.11" ;;
esac
if [ -n "$RESOLVER" ]; then
  resolver="resolver $RESOLVER valid=5s;"
else
  case $host in
  \[*) ;;
  *[!0-9.]*) refuse "SERVING='$SERVING': no DNS server in /etc/resolv.conf to ask for $host; give an IP address or RESOLVER" ;;
  esac
  resolver=
fi

sed -e "s|@SERVING@|$host:$port|" -e "s|@LISTEN@|$LISTEN|" -e "s|@SITE@|$SITE|" -e "s|@CONFIG_DIR@|$CONFIG_DIR|" \
  -e "s|@RUN_DIR@|$RUN_DIR|" -e "s|@RESOLVER@|$resolver|" "$here/nginx.conf.template" >"$RUN_DIR/nginx.conf"
exec nginx -p "$RUN_DIR" -c "$RUN_DIR/nginx.conf" -g 'daemon off;'
