#!/bin/sh
# What `package.rs` does with the package, run by systemd as the last service of a Debian that is thrown away afterwards.
# /test has the package, an export of a bundle, the digests and names of its files, and gets the log.
set -eux
exec >/test/log 2>&1

# Everything a package could leave behind. Caches and logs of the system are not its.
files() {
	find /etc /usr /var /lib /opt /srv -xdev \( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /var/tmp \
		-o -path /var/lib/systemd -o -path /var/lib/private \) -prune -o ! -name '*.cache' -print | sort
}
journal() { journalctl --no-pager --output=cat --unit=bivouac.service; }
failed() { systemctl --no-pager --full status bivouac.service || true; journal; }
# errexit overlooks a command after `!`.
not() { ! "$@"; }
is_active() { systemctl is-active --quiet bivouac.service; }
main_pid() { systemctl show --property=MainPID --value bivouac.service; }

# Computers that build containers forbid services to start; and an index of manual pages takes longer than all else.
rm -f /usr/sbin/policy-rc.d /var/lib/man-db/auto-update
files >/tmp/before

# Installing it answers no machine.
dpkg --install /test/bivouac.deb
id bivouac
not systemctl is-enabled bivouac.service
not is_active
test "$(stat -c '%U:%G %a' /etc/bivouac/site.toml)" = 'root:bivouac 640'
test "$(stat -c '%U %a' /var/lib/bivouac)" = 'bivouac 750'
test -e /usr/share/man/man1/bivouac-rollout-start.1.gz
test -x /usr/share/bivouac/overlays/check-in/root/usr/libexec/bivouac/check-in
bash -n /usr/share/bash-completion/completions/bivouac
systemd-analyze verify --man=no bivouac.service bivouac-http.socket bivouac-tftp.socket
# At most 2.0 of 10.
systemd-analyze security --threshold=20 --no-pager bivouac.service

# A network of its own, with a machine in it that has nothing.
ip link add lan type veth peer name card
ip netns add machine
ip link set card netns machine
ip address add 10.77.0.1/24 dev lan
ip link set lan up
ip netns exec machine ip link set card up
printf '\n[dhcp]\nmode = "full"\npool = "10.77.0.100-10.77.0.120"\ninterfaces = ["lan"]\n' >>/etc/bivouac/site.toml

# As an operator does: bundles are the service's own.
cd /
runuser -u bivouac -- bivouac import /test/hello.tar
runuser -u bivouac -- bivouac publish hello
trap failed EXIT
# It returns when the service says that it is ready.
systemctl --quiet enable --now bivouac.service
is_active
bivouac list

# With its rights, and no other.
status=/proc/$(main_pid)/status
grep "^Uid:.$(id -u bivouac)" "$status"
grep '^CapEff:.0000000000002400$' "$status" # CAP_NET_BIND_SERVICE and CAP_NET_RAW
grep '^NoNewPrivs:.1$' "$status"
grep '^Seccomp:.2$' "$status"

# A boot: an address, a loader, a script, and every file that the script names.
ip netns exec machine busybox udhcpc -n -q -f -i card -s /bin/true
ip netns exec machine ip address add 10.77.0.99/24 dev card
get() { ip netns exec machine curl --silent --show-error --fail "$@"; }
base=http://10.77.0.1
get "$base/boot.ipxe" | grep '#!ipxe'
if [ -e /usr/lib/ipxe/undionly.kpxe ]; then
	get tftp://10.77.0.1/undionly.kpxe | cmp - /usr/lib/ipxe/undionly.kpxe
fi
get "$base/script?mac=52:54:00:00:00:01" >/tmp/script
bundle=$(sed -n 's/.*bivouac_bundle=\([0-9a-f]*\).*/\1/p' /tmp/script | head -1)
while read -r sum name; do
	get "$base/b/$bundle/$name" | sha256sum | grep "^$sum "
done </test/files
runuser -u bivouac -- bivouac machines | grep 52:54:00:00:00:01

# Changes are read, and nobody is cut off.
before=$(main_pid)
systemctl reload bivouac.service
until journal | grep 'read again and in force'; do sleep 0.1; done
test "$(main_pid)" = "$before"

# Beside another DHCP server it overhears port 67, with the same rights.
sed -i 's/^mode = "full"/mode = "proxy"/; /^pool/d' /etc/bivouac/site.toml
until journal | grep 'held until the server is restarted keys=dhcp.mode'; do sleep 0.1; done
systemctl restart bivouac.service
grep -c . /proc/net/raw
before=$(main_pid)

# An upgrade restarts it.
dpkg --install /test/bivouac.deb
is_active
test "$(main_pid)" != "$before"
get "$base/boot.ipxe" | grep '#!ipxe'

# Its port may be opened by systemd: whoever asks is answered, whether it runs or not.
systemctl stop bivouac.service
systemctl start bivouac-http.socket
not is_active
get "$base/boot.ipxe" | grep '#!ipxe'
is_active
trap - EXIT
systemctl --quiet enable bivouac-http.socket

# Removed, it leaves what was configured and what it knows; that the service is enabled is of the former.
dpkg --remove bivouac
not is_active
files >/tmp/removed
diff /tmp/before /tmp/removed | grep '^[<>]' | grep -vE '^> (/etc/bivouac|/var/lib/bivouac|/etc/systemd/system/.*bivouac\.service)(/|$)' >/tmp/left || true
test ! -s /tmp/left || { cat /tmp/left; exit 1; }
test -d /var/lib/bivouac/store
dpkg --purge bivouac
files >/tmp/after
diff /tmp/before /tmp/after
echo 'all is well'
