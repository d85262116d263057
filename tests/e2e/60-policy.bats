#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Settings: configuration files, policies and options, as `dray policy` tells them. Needs no testbed.

: "${DRAY:?path of the dray binary}"

setup() {
	cd "$BATS_TEST_TMPDIR" || return
}

# policy NAME VMI-SELECTOR NAMESPACE-SELECTOR [SPEC-LINE...]: a document on standard output.
policy() {
	local name=$1 vmi=$2 namespace=$3
	shift 3
	cat <<-EOF
		---
		apiVersion: migrations.kubevirt.io/v1alpha1
		kind: MigrationPolicy
		metadata:
		  name: $name
		spec:
		  selectors:
		    virtualMachineInstanceSelector: {$vmi}
		    namespaceSelector: {$namespace}
	EOF
	(($# == 0)) || printf '  %s\n' "$@"
}

config() {
	printf '%s\n' "$@" >config.yaml
}

# shows NAME VALUE ORIGIN: in what the last run printed.
shows() {
	local line
	printf -v line '%-34s %-14s %s' "$@"
	grep -qxF -- "$line" <<<"$output" || {
		printf 'no "%s" in:\n%s\n' "$line" "$output" >&2
		return 1
	}
}

tells() {
	run "$DRAY" policy "$@"
	[ "$status" -eq 0 ]
}

# refused PATTERN... -- ARGUMENT...: exit status 1, with all patterns in the message.
refused() {
	local -a patterns=()
	while [[ $1 != -- ]]; do
		patterns+=("$1")
		shift
	done
	shift
	run "$DRAY" policy "$@"
	[ "$status" -eq 1 ]
	for pattern in "${patterns[@]}"; do
		grep -qF -e "$pattern" <<<"$output" || {
			printf 'no "%s" in:\n%s\n' "$pattern" "$output" >&2
			return 1
		}
	done
}

@test "the defaults" {
	tells
	shows bandwidthPerMigration 0 default
	shows completionTimeoutPerGiB 150 default
	shows progressTimeout 150 default
	shows allowPostCopy false default
	shows allowWorkloadDisruption false "follows allowPostCopy"
	shows allowAutoConverge false default
	shows maxDowntimeMs 300 default
	shows parallelOutboundMigrationsPerNode 2 default
	shows parallelInboundMigrationsPerNode 2 default
	shows compression none default
	shows keepPrivateMemory false default
	shows network - default
	shows disableTLS false default
	grep -qx "No policies were given." <<<"$output"
}

@test "each layer overrides those before it" {
	config "bandwidthPerMigration: 1G" "maxDowntimeMs: 100" "progressTimeout: 20"
	policy gold "tier: gold" "" "bandwidthPerMigration: 2G" "maxDowntimeMs: 200" >policy.yaml
	tells --config config.yaml --policy policy.yaml --vmi-labels tier=gold --bandwidth 3G
	shows bandwidthPerMigration 3G "option --bandwidth"
	shows maxDowntimeMs 200 "policy gold"
	shows progressTimeout 20 "config config.yaml"
	shows completionTimeoutPerGiB 150 default
	grep -qx "Policy gold matches, the best of 1." <<<"$output"
}

@test "compression: by configuration, policy and option" {
	config "compression: zstd"
	policy gold "" "" "compression: zstd:3" >policy.yaml
	tells --config config.yaml
	shows compression zstd "config config.yaml"
	tells --config config.yaml --policy policy.yaml
	shows compression zstd:3 "policy gold"
	tells --compression auto
	shows compression auto "option --compression"
	tells --json --config config.yaml --policy policy.yaml --compression zstd:5
	[ "$(jq -c '.settings[] | select(.name == "compression")' <<<"$output")" = \
		'{"name":"compression","value":"zstd:5","given":"zstd:5","origin":"option --compression"}' ]
	config "compression: gzip"
	refused "config.yaml:1: compression: 'gzip'" "zstd:LEVEL" -- --config config.yaml
}

@test "the objects that KubeVirt's users have" {
	cat >hco.json <<-EOF
		{"apiVersion": "hco.kubevirt.io/v1beta1", "kind": "HyperConverged", "metadata": {"name": "h"},
		 "spec": {"liveMigrationConfig": {"completionTimeoutPerGiB": 20, "parallelMigrationsPerCluster": 5,
		  "parallelOutboundMigrationsPerNode": 1, "network": null, "allowPostCopy": true}}}
	EOF
	tells --config hco.json
	shows completionTimeoutPerGiB 20 "config hco.json"
	shows parallelOutboundMigrationsPerNode 1 "config hco.json"
	shows allowWorkloadDisruption true "follows allowPostCopy"
	config "kind: KubeVirt" "spec:" "  configuration:" "    migrations:" "      bandwidthPerMigration: 64Mi"
	tells --config config.yaml
	shows bandwidthPerMigration 64Mi "config config.yaml"
}

@test "a configuration may come through a pipe" {
	tells --config <(echo "maxDowntimeMs: 7")
	grep -qE "^maxDowntimeMs +7 +config /dev/fd/" <<<"$output"
}

@test "a policy that matches nothing" {
	policy gold "tier: gold" "" "maxDowntimeMs: 200" >policy.yaml
	policy silver "" "tier: silver" "maxDowntimeMs: 250" >>policy.yaml
	tells --policy policy.yaml --vmi-labels tier=silver --namespace-labels tier=gold
	shows maxDowntimeMs 300 default
	grep -qx "None of 2 policies matches." <<<"$output"
	tells --policy policy.yaml
	grep -qx "None of 2 policies matches." <<<"$output"
}

@test "two policies with a tie: the first by name" {
	mkdir policies
	policy zinc "a: x" "" "maxDowntimeMs: 1" >policies/1.yaml
	policy iron "b: x" "" "maxDowntimeMs: 2" >policies/2.yaml
	tells --policy policies --vmi-labels a=x,b=x
	shows maxDowntimeMs 2 "policy iron"
	grep -qx "Policy iron matches, the best of 2." <<<"$output"
}

@test "a tie in number: labels of the guest count more; more labels count most" {
	policy of-namespace "" "n: x" "maxDowntimeMs: 1" >policies.yaml
	policy of-vmi "a: x" "" "maxDowntimeMs: 2" >>policies.yaml
	tells --policy policies.yaml --vmi-labels a=x --namespace-labels n=x
	shows maxDowntimeMs 2 "policy of-vmi"
	policy of-both "a: x" "n: x" "maxDowntimeMs: 3" >>policies.yaml
	tells --policy policies.yaml --vmi-labels a=x --namespace-labels n=x
	shows maxDowntimeMs 3 "policy of-both"
}

@test "a policy that allows post-copy allows disruption, unless it says otherwise" {
	config "allowWorkloadDisruption: false"
	policy a "" "" "allowPostCopy: true" >policy.yaml
	tells --config config.yaml --policy policy.yaml
	shows allowWorkloadDisruption true "policy a"
	policy a "" "" "allowPostCopy: true" "allowWorkloadDisruption: false" >policy.yaml
	tells --policy policy.yaml
	shows allowPostCopy true "policy a"
	shows allowWorkloadDisruption false "policy a"
}

@test "booleans with and without a value" {
	tells --post-copy --auto-converge=no --disable-tls
	shows allowPostCopy true "option --post-copy"
	shows allowWorkloadDisruption true "follows allowPostCopy"
	shows allowAutoConverge false "option --auto-converge"
	shows disableTLS true "option --disable-tls"
	tells --post-copy=now --allow-workload-disruption=no
	shows allowPostCopy "true, now" "option --post-copy"
	shows allowWorkloadDisruption false "option --allow-workload-disruption"
}

@test "--json: one object" {
	policy gold "" "" "maxDowntimeMs: 200" >policy.yaml
	tells --json --policy policy.yaml --bandwidth 64Mi
	[ "$(jq -r .policy <<<"$output")" = gold ]
	[ "$(jq -r .policies <<<"$output")" = 1 ]
	[ "$(jq '.settings | length' <<<"$output")" -eq 14 ]
	[ "$(jq -c '.settings[] | select(.name == "bandwidthPerMigration")' <<<"$output")" = \
		'{"name":"bandwidthPerMigration","value":67108864,"given":"64Mi","origin":"option --bandwidth"}' ]
	[ "$(jq -c '.settings[] | select(.name == "allowPostCopy").value' <<<"$output")" = false ]
	tells --json
	[ "$(jq -c '[.policy, .policies]' <<<"$output")" = "[null,null]" ]
}

@test "bad options name themselves and the accepted form" {
	refused "--bandwidth: '64MB/s'" 64Mi -- --bandwidth 64MB/s
	refused "--bandwidth: '-1'" 64Mi -- --bandwidth=-1
	refused "--bandwidth: '1e30'" 64Mi -- --bandwidth 1e30
	refused "--bandwidth: '64'" "mistake in the unit" -- --bandwidth 64
	refused "--max-downtime: '0'" "from 1 to 2000000" -- --max-downtime 0
	refused "--completion-timeout-per-gib: '5m'" "whole number of seconds" -- --completion-timeout-per-gib 5m
	refused "--progress-timeout: '-1'" "whole number of seconds" -- --progress-timeout=-1
	refused "--max-outbound: '0'" "from 1 to 1024" -- --max-outbound 0
	refused "--post-copy: 'maybe'" "yes, no or now" -- --post-copy=maybe
	refused "--auto-converge: '2'" "yes or no" -- --auto-converge=2
	refused "--compression: 'zstd:20'" "zstd:LEVEL" -- --compression zstd:20
	refused "--bind: 'a b'" "eth1" -- --bind "a b"
	refused "--vmi-labels: 'tier'" "KEY=VALUE" -- --policy . --vmi-labels tier
	refused "--namespace-labels: label a is given twice" -- --policy . --namespace-labels a=b,a=c
}

@test "contradictions" {
	refused "--bandwidth is given twice" "'1G' and '2G'" -- --bandwidth 1G --bandwidth 2G
	refused "--post-copy is given twice" -- --post-copy --post-copy=now
	refused "--config is given twice" -- --config a --config b
	refused "--vmi-labels" "--policy FILE|DIR is needed" -- --vmi-labels a=b
	refused "--namespace-labels" "--policy FILE|DIR is needed" -- --namespace-labels a=b
	tells --bandwidth 1Gi --bandwidth 1024Mi
}

@test "bad configurations name file, line, key and the accepted form" {
	config "" "bandwidthPerMigration: 64MB/s"
	refused "config.yaml:2: bandwidthPerMigration: '64MB/s'" 64Mi -- --config config.yaml
	config "bandwith: 64Mi"
	refused "config.yaml:1: unknown key 'bandwith'" bandwidthPerMigration -- --config config.yaml
	config "allowPostCopy: maybe"
	refused "config.yaml:1: allowPostCopy: 'maybe'" "true or false" -- --config config.yaml
	config "maxDowntimeMs: {a: 1}"
	refused "config.yaml:1: maxDowntimeMs" "plain value" -- --config config.yaml
	config "maxDowntimeMs: 1" "maxDowntimeMs: 1"
	refused "config.yaml:2: maxDowntimeMs is given twice" -- --config config.yaml
	config "a: [1"
	refused "config.yaml:" "neither YAML nor JSON" -- --config config.yaml
	config "- 1"
	refused "config.yaml:1: a mapping" -- --config config.yaml
	: >config.yaml
	refused "config.yaml: is empty" -- --config config.yaml
	refused "missing.yaml: cannot be opened" -- --config missing.yaml
	head -c 1048577 /dev/zero | tr '\0' '#' >config.yaml
	refused "config.yaml: larger than 1 MiB" -- --config config.yaml
}

@test "bad policies name file, line and key" {
	printf 'apiVersion: v1\nkind: Pod\n' >policy.yaml
	refused "policy.yaml:1: an object of kind 'Pod'" MigrationPolicy -- --policy policy.yaml
	policy a "" "" "progressTimeout: 1" >policy.yaml
	refused "policy.yaml:10: unknown key 'progressTimeout'" maxDowntimeMs -- --policy policy.yaml
	policy a "" "" "bandwidthPerMigration: -1" >policy.yaml
	refused "policy.yaml:10: bandwidthPerMigration: '-1'" 64Mi -- --policy policy.yaml
	policy a "matchLabels: {b: c}" "" >policy.yaml
	refused "policy.yaml:8: virtualMachineInstanceSelector: 'matchLabels'" "KEY: VALUE" -- --policy policy.yaml
	mkdir policies
	policy a "" "" >policies/1.yaml
	policy a "" "" >policies/2.yml
	refused "policies/2.yml:5: MigrationPolicy a stands at policies/1.yaml:5 already" -- --policy policies
	refused "missing: cannot be found" -- --policy missing
}

@test "a bad policy is refused even where another would win" {
	policy a "x: y" "" "maxDowntimeMs: 0" >policy.yaml
	policy b "" "" >>policy.yaml
	refused "policy.yaml:10: maxDowntimeMs: '0'" "from 1 to 2000000" -- --policy policy.yaml
}
