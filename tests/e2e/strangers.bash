#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# strangers ADDRESS PORT: knocks at a receiver as nobody should, until it is killed. Each 100 connections it says
# how many there have been. The newest HELD of them stay open, and get a byte more each time that one is added.

set -u
trap '' PIPE # many are closed before they have said all
exec 2>/dev/null

readonly HELD=200
readonly HELLO='DRAY\x02\0\x02\0\0\0\0\0\0\0\0\0a stranger here.' # then what it is for, and room
printf -v PADDING '%28s' ''

# What each says first: nothing, half of TLS's first record, a record larger than any, a message larger than any, a stream of
# a migration that there is not, another protocol, some of a hello.
open_one() {
	local fd
	exec {fd}<>"/dev/tcp/$1/$2" || return
	FDS+=("$fd")
	case $((COUNT % 7)) in
	0) ;;
	1) printf '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03half of it' >&"$fd" ;;
	2) printf '\x16\x03\x03\xff\xff\x01\xff\xff\xff%16000s' '' >&"$fd" ;;
	3) printf "$HELLO"'\x01\0\0\0%s\xff\xff\xff\xff\xff\xff\xff\xff%8000s' "$PADDING" '' >&"$fd" ;;
	4) printf "$HELLO"'\x02\0\0\0%s%16000s' "$PADDING" '' >&"$fd" ;;
	5) printf 'GET / HTTP/1.1\r\n\r\n' >&"$fd" ;;
	6) printf 'DRA' >&"$fd" ;;
	esac
}

one_byte_each() {
	local fd
	for fd in "${FDS[@]}"; do
		printf 'Y' >&"$fd"
	done
}

declare -a FDS=()
declare -i COUNT=0
while :; do
	open_one "$1" "$2" || continue
	COUNT+=1
	((COUNT % 10)) || one_byte_each
	((COUNT % 100)) || echo "$COUNT"
	((${#FDS[@]} <= HELD)) || {
		fd=${FDS[0]}
		exec {fd}>&-
		FDS=("${FDS[@]:1}")
	}
done
