#!/usr/bin/env bash
# Makes the files next to it, with the same bytes every time. Made with squashfs-tools 4.5.1 and XZ Utils 5.4.1.
set -euo pipefail
cd "$(dirname "$0")"
out=$PWD
work=$(mktemp -d)
umask 022
trap 'rm -r "$work"' EXIT
cd "$work"

# file PATH: a file whose content is its path.
file() { mkdir -p "$(dirname "$1")"; echo "$1" >"$1"; }

# image NAME FOLDER OPTION…: as Alpine's update-kernel calls mksquashfs, but for owners and times.
image() {
	local name=$1 folder=$2
	shift 2
	rm -f "$out/$name.sqfs"
	mksquashfs "$folder" "$out/$name.sqfs" -all-root -mkfs-time 0 -all-time 0 -no-xattrs -nopad -processors 1 \
		-no-progress -quiet "$@" >/dev/null
}

# One kernel, in each form of compression.
for name in modules.dep modules.alias kernel/fs/ext4.ko kernel/drivers/net/e1000.ko; do
	file "one/modules/6.12.30-0-lts/$name"
done
for name in regulatory.db rtl_nic/rtl8168g-2.fw; do
	file "one/modules/firmware/$name"
done
image xz one -comp xz -Xbcj x86
image gzip one -comp gzip
image zstd one -comp zstd

# Two kernels, and names that are no kernel's; nothing is compressed.
cp -r one two
file two/modules/6.6.90-0-virt/modules.dep
file two/modules/6.1.0-file
file two/modules/extra/x
file two/other/x
ln -s 6.12.30-0-lts two/modules/6.13.0-link
image plain two -comp gzip -noI -noId -noD -noF

# `modules` has 600 folders more, which makes its inode an extended one and its listing 33 KB long; the folders below
# it are 20 KB of inodes.
for number in $(seq -w 600); do
	mkdir -p "many/modules/7-folder-that-is-no-kernel_with-a-long-name,$number"
done
file many/modules/6.12.30-0-lts/modules.dep
file many/modules/9.9.99-0-last/modules.dep
file many/modules/firmware
image many many -comp xz -Xbcj x86

# No kernel, and no `modules` at the top.
file firmware/modules/firmware/regulatory.db
image firmware firmware -comp xz
file root/lib/modules/6.12.30-0-lts/modules.dep
file root/modules-of-another-name
ln -s lib/modules root/modules
image root root -comp xz

# What calls look like in the machine code of x86, arm, armthumb, arm64 and powerpc, 32 times; then filtered by each.
for _ in $(seq 32); do
	printf '\350\0\1\0\0\220\220\220\0\1\0\353\0\360\4\370\100\0\0\224\110\0\1\1'
done >"$out/calls"
for filter in x86 arm armthumb arm64 powerpc; do
	xz --format=xz --check=crc32 --$filter --lzma2=dict=8KiB --stdout "$out/calls" >"$out/calls-$filter.xz"
done

# Blocks no image has: one that unpacks to 16 MiB, one that asks for a dictionary of 4 MiB.
head -c 16777216 /dev/zero | xz --format=xz --check=crc32 --lzma2=dict=8KiB --stdout >"$out/zeros.xz"
echo x | xz --format=xz --check=crc32 --lzma2=preset=0,dict=4MiB --stdout >"$out/dictionary.xz"
