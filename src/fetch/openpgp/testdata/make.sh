#!/bin/sh
# Makes the keys and signatures in this folder anew, with GnuPG 2.2. The private keys are thrown away.
# The tests take the fingerprints from `fingerprints.txt`, which this script writes too.
set -eu

cd "$(dirname "$0")"
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
chmod 700 "$GNUPGHOME"

# Long past, and each key expires after a year: expiry is not looked at.
gpg() {
	command gpg --batch --quiet --no-tty --yes --pinentry-mode loopback --passphrase '' \
		--faked-system-time 20200101T000000 --ignore-time-conflict "$@"
}
sign() { # sign OUTPUT OPTION..
	out=$1; shift
	gpg "$@" --output "$out" file.txt
}
fingerprint() { gpg --with-colons --list-keys "$1" | grep '^fpr' | cut -d: -f10 | sed -n "${2}p"; }

rm -f ./*.asc ./*.sig ./*.gpg fingerprints.txt
printf 'A file of a release.  \nWith two lines\n' >file.txt

gpg --quick-generate-key 'RSA Releases <rsa@example.org>' rsa3072 sign 1y
gpg --quick-generate-key 'Ed25519 Releases <ed25519@example.org>' ed25519 sign 1y
gpg --quick-generate-key 'Subkey Releases <subkey@example.org>' ed25519 cert 1y
gpg --quick-generate-key 'Short Releases <short@example.org>' rsa1024 sign 1y
gpg --quick-generate-key 'ECDSA Releases <ecdsa@example.org>' nistp256 sign 1y

rsa=$(fingerprint rsa@ 1)
ed25519=$(fingerprint ed25519@ 1)
primary=$(fingerprint subkey@ 1)
gpg --quick-add-key "$primary" rsa2048 sign 1y
gpg --quick-add-key "$primary" cv25519 encr 1y
gpg --quick-add-key "$primary" ed25519 sign 1y
{
	echo "rsa $rsa"
	echo "ed25519 $ed25519"
	echo "subkey $primary"
	echo "subkey-rsa $(fingerprint subkey@ 2)"
	echo "subkey-ed25519 $(fingerprint subkey@ 4)"
} >fingerprints.txt

gpg --armor --comment 'a comment' --output rsa.asc --export rsa@
gpg --output rsa.gpg --export rsa@
for name in ed25519 subkey short ecdsa; do
	gpg --armor --output "$name.asc" --export "$name@"
done
gpg --armor --output two-keys.asc --export rsa@ ed25519@

sign rsa-sha256.asc --armor --detach-sign -u rsa@ --digest-algo SHA256
sign rsa-sha512.asc --armor --detach-sign -u rsa@ --digest-algo SHA512
sign rsa-sha512.sig --detach-sign -u rsa@ --digest-algo SHA512
sign rsa-sha1.asc --armor --detach-sign -u rsa@ --digest-algo SHA1
sign rsa-sha384.asc --armor --detach-sign -u rsa@ --digest-algo SHA384
sign rsa-text.asc --armor --textmode --detach-sign -u rsa@
sign rsa-clear.asc --clearsign -u rsa@
sign rsa-inline.sig --sign -u rsa@
sign rsa-notation.asc --armor --detach-sign -u rsa@ --sig-notation '!kind@example.org=release'
sign ed25519.sig --detach-sign -u ed25519@ --digest-algo SHA512
sign ed25519-sha256.asc --armor --detach-sign -u ed25519@ --digest-algo SHA256
sign ecdsa-sig.asc --armor --detach-sign -u ecdsa@
sign subkey-rsa-sig.asc --armor --detach-sign -u "$(fingerprint subkey@ 2)!" --digest-algo SHA512
sign subkey-ed25519-sig.asc --armor --detach-sign -u "$(fingerprint subkey@ 4)!" --digest-algo SHA512
sign both.asc --armor --detach-sign -u rsa@ -u ed25519@

# RSA numbers that start with a zero byte are written without it: one signature in 256.
whole=$(wc -c <rsa-sha512.sig)
seconds=0
until [ -e rsa-short.sig ] && [ "$(wc -c <rsa-short.sig)" -lt "$whole" ]; do
	seconds=$((seconds + 1))
	time=20200102T$(printf '00%02d%02d' $((seconds / 60)) $((seconds % 60)))
	sign rsa-short.sig --faked-system-time "$time" --detach-sign -u rsa@ --digest-algo SHA512
done

# The RSA subkey, then the RSA primary key are revoked.
printf 'key %s\nrevkey\ny\n0\n\ny\nsave\n' 1 |
	gpg --command-fd 0 --edit-key "$primary" >/dev/null 2>&1
gpg --armor --output subkey-revoked.asc --export subkey@
sed 's/^:-----/-----/' "$GNUPGHOME/openpgp-revocs.d/$rsa.rev" | gpg --import 2>/dev/null
gpg --armor --output rsa-revoked.asc --export rsa@

# A newer binding of the Ed25519 subkey lets it authenticate instead of sign.
printf 'key 3\nchange-usage\nS\nA\nQ\nsave\n' |
	gpg --faked-system-time 20200601T000000 --command-fd 0 --edit-key "$primary" >/dev/null 2>&1
gpg --armor --output subkey-changed.asc --export subkey@
