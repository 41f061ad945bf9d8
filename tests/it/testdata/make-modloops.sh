#!/usr/bin/env bash
# Makes the modloops next to it, with the same bytes every time: nothing in them is compressed, so that a test may give
# the kernel another name of the same length. Made with squashfs-tools 4.5.1.
set -euo pipefail
cd "$(dirname "$0")"
out=$PWD
work=$(mktemp -d)
umask 022
trap 'rm -r "$work"' EXIT
for flavor in lts virt; do
	mkdir -p "$work/$flavor/modules/6.18.1-0-$flavor" "$work/$flavor/modules/firmware"
	rm -f "$out/modloop-$flavor"
	mksquashfs "$work/$flavor" "$out/modloop-$flavor" -all-root -mkfs-time 0 -all-time 0 -no-xattrs -nopad -processors 1 \
		-no-progress -quiet -noI -noId -noD -noF >/dev/null
done
