#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# TLS as users meet it: who is turned away, by which side, in which words; rotation; and without.

export DRAY_TLS=yes # the cases without say so
load e2e

# A directory of credentials for each way to be wrong. All tests share one guest, which stays where it is until the last.
setup_file() {
	export PKI=$BATS_FILE_TMPDIR/pki
	pki ca --ca "$PKI/ca"
	pki ca --ca "$PKI/foreign" --name 'a foreign CA'
	pki host --ca "$PKI/ca" --out "$PKI/a" hosta.example.org 10.78.0.1
	pki host --ca "$PKI/ca" --out "$PKI/b" hostb.example.org 10.78.0.2
	pki host --ca "$PKI/ca" --out "$PKI/misnamed" somebody.example.org 10.78.0.9
	pki host --ca "$PKI/ca" --out "$PKI/old" --days 0 old.example.org 10.78.0.1
	pki host --ca "$PKI/foreign" --out "$PKI/foreigner" foreigner.example.org 10.78.0.1 10.78.0.2
	cat "$PKI/ca/ca.crt" >>"$PKI/foreigner/ca.crt" # it believes us, but not we it
	cp -a "$PKI/a" "$PKI/loose"
	chmod 644 "$PKI/loose/tls.key"
	cp -a "$PKI/a" "$PKI/mixed"
	cp "$PKI/b/tls.key" "$PKI/mixed/tls.key"
	cp -a "$PKI/b" "$PKI/strict"
	pki host --ca "$PKI/ca" --out "$PKI/gone" gone.example.org 10.78.0.1
	pki revoke --ca "$PKI/ca" "$PKI/gone/tls.crt"
	cp "$PKI/ca/crl.pem" "$PKI/strict/"
	guest tls --memory 304 --fill 64 --dirty 8 --rate 4
}

teardown_file() {
	"$TESTBED" destroy tls >/dev/null 2>&1 || true
}

teardown() {
	stop_receive
}

pki() {
	"$ROOT/tools/dray-pki" "$@" >/dev/null
}

# refused FROM-DIR PATTERN...: the migration is, before anything is touched, and all of these are said.
refused() {
	local dir=$1 pattern
	shift
	run timeout 20 "$TESTBED" exec a "$DRAY" migrate ${dir:+--tls-dir "$dir"} tls 10.78.0.2
	[ "$status" -eq 1 ]
	for pattern; do
		[[ $output == *"$pattern"* ]] || return 1
	done
}

is_expired() {
	! openssl x509 -in "$1" -noout -checkend 0
}

told() {
	until_true 5 grep -F '"refused"' "$RX_LOG"
	grep -qF -- "$1" "$RX_LOG"
}

@test "own credentials that are no good: refused at once, naming the file" {
	refused "$PKI/loose" "$PKI/loose/tls.key" 0644
	refused "$PKI/mixed" "$PKI/mixed/tls.key" "not the key"
	until_true 5 is_expired "$PKI/old/tls.crt"
	refused "$PKI/old" "$PKI/old/tls.crt" CN=old.example.org "has expired"
}

@test "a destination with another name: refused by the source" {
	receive b --tls-dir "$PKI/misnamed"
	refused "$PKI/a" CN=somebody.example.org "is not for 10.78.0.2" 10.78.0.9
	told alert
}

@test "a destination of a foreign CA: refused by the source" {
	receive b --tls-dir "$PKI/foreigner"
	refused "$PKI/a" CN=foreigner.example.org "not signed by a CA of $PKI/a/ca.crt"
}

@test "a source that the destination does not take: both say why" {
	receive b --tls-dir "$PKI/strict"
	refused "$PKI/foreigner" "unknown CA"
	told "not signed by a CA of $PKI/strict/ca.crt"
	refused "$PKI/gone" revoked
	told "$PKI/strict/crl.pem"
	told CN=gone.example.org
}

@test "a stranger without a certificate: turned away" {
	receive b --tls-dir "$PKI/b"
	run timeout 20 "$TESTBED" exec a openssl s_client -connect 10.78.0.2:7470 -tls1_3 -ign_eof
	[ "$status" -ne 0 ]
	told "did not return a certificate"
	run timeout 20 "$TESTBED" exec a openssl s_client -connect 10.78.0.2:7470 -tls1_2
	[ "$status" -ne 0 ]
}

@test "--allow-peer: others of our CA are turned away" {
	receive b --tls-dir "$PKI/b" --allow-peer 'hostc.example.org' --allow-peer '*.example.com'
	refused "$PKI/a" --allow-peer CN=hosta.example.org
	told CN=hosta.example.org
}

@test "one side without TLS: both say so, at once" {
	receive b --disable-tls
	refused "$PKI/a" "does not take TLS" --disable-tls
	told "the source wants TLS"
	stop_receive
	receive b --tls-dir "$PKI/b"
	run timeout 20 "$TESTBED" exec a "$DRAY" migrate --disable-tls tls 10.78.0.2
	[ "$status" -eq 1 ]
	[[ $output == *"takes TLS only"* ]]
	told "the source runs with --disable-tls"
}

@test "--allow-peer lets it in, a rotation needs no restart, and without TLS it works as well" {
	receive b --tls-dir "$PKI/misnamed" --allow-peer '*.example.org'
	refused "$PKI/a" "is not for 10.78.0.2"
	pki host --ca "$PKI/ca" --out "$PKI/misnamed" hostb.example.org 10.78.0.2
	migrate a tls --tls-dir "$PKI/a" --verify
	[ "$status" -eq 0 ]
	[ "$(field tls)" = true ]
	stop_receive
	receive a --disable-tls
	migrate b tls --disable-tls --post-copy=now --verify
	[ "$status" -eq 0 ]
	[ "$(field tls)" = false ]
	"$TESTBED" wait-verified tls
}
