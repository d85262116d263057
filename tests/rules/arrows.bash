# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# arrows: who needs whom. Sourced by tests/run, which has set ROOT, RELEASE and WORK.
#
# An arrow leads from a file to one that it needs, for one of two reasons: it includes it, or its object has an
# undefined symbol that the other's object defines. The second kind is read from the release build, so that no
# declaration hides it, neither a prototype written into a .c file nor a header that several files share. A call through
# a pointer is no arrow: that is how a lower file tells an upper one something.
#
#     check_names      arrows are read by bare names, so a name is used once, and an #include says one name
#     check_rooms      an arrow leaves its folder only for the folders that the table below allows
#     check_circles    no module is reached from itself
#     check_itself     the last two find what they are made for

# What a folder may see besides itself. What those may see comes with them, as in CMakeLists.txt. FOLDER:HEADER is that
# header alone, and the files that define what it declares: NAME.c, NAME_*.c.
declare -rA ROOMS=(
	[engine]=""
	[transport]="engine"
	[qemu-glue]="engine"
	[tools/settings]="engine"
	[tools/session]="transport qemu-glue"
	[tools/report]="tools/session"
	[tools/live]="tools/report"
	[tools/outgoing]="tools/live tools/settings"
	[tools/incoming]="tools/live"
	[tools/recovery]="tools/report tools/outgoing:page_link.h tools/incoming:server.h"
	[tools/bench]="tools/report"
	[tools]="tools/recovery tools/outgoing tools/incoming tools/bench"
)

# The program of the testbed's guests: no part of dray.
readonly NO_ROOM=tools/witness.c

house_files() {
	find "${!ROOMS[@]}" -maxdepth 1 -name '*.[ch]' ! -path "$NO_ROOM" | sort
}

# told TEXT LINES: false, and LINES with TEXT below them, if there are any.
told() {
	[[ -n $2 ]] || return 0
	printf '%s\n    %s\n' "$2" "$1"
	return 1
}

# ---- arrows ------------------------------------------------------------------------------------------------

# include_arrows: a line "FROM<tab>TO<tab>includes" for each #include of a file of the house.
include_arrows() {
	house_files | awk '
		function name(path) { sub(".*/", "", path); return path }
		{ files[++n] = $0; path_of[name($0)] = $0 }
		END {
			for (i = 1; i <= n; i++)
				while ((getline line < files[i]) > 0)
					if (match(line, /^[ \t]*#[ \t]*include[ \t]*"/)) {
						split(line, part, "\"")
						if (name(part[2]) in path_of)
							printf "%s\t%s\tincludes\n", files[i], path_of[name(part[2])]
					}
		}'
}

# compiled: a line "SOURCE<tab>WORD" for each word of the compiler's command for a source of the house.
compiled() {
	jq -r --arg root "$ROOT/" '.[] | (.file | ltrimstr($root)) as $source | .command | split(" ")[] |
		[$source, .] | @tsv' "$RELEASE/compile_commands.json" |
		awk -F '\t' -v rooms="${!ROOMS[*]}" -v no_room="$NO_ROOM" '
			BEGIN { n = split(rooms, list, " "); for (i = 1; i <= n; i++) is_room[list[i]] }
			{ room = $1; sub("/[^/]*$", "", room) }
			(room in is_room) && $1 != no_room'
}

# call_arrows: a line "FROM<tab>TO<tab>SYMBOL" for each symbol that one object uses and another one defines.
call_arrows() {
	compiled | awk -F '\t' '$2 == "-o" { getline; print }' >"$WORK/objects" || return 1
	(cd "$RELEASE" && cut -f 2 "$WORK/objects" | xargs nm -A -P) >"$WORK/symbols" || return 1
	awk -F '\t' '
		NR == FNR { source_of[$2] = $1; next }
		{
			end = index($0, ": ")
			from = source_of[substr($0, 1, end - 1)]
			split(substr($0, end + 2), part, " ") # name, kind
			if (part[2] ~ /^[A-TV-Z]$/)
				home[part[1]] = from
			else if (part[2] ~ /^[Uvw]$/)
				uses[from "\t" part[1]]
		}
		END {
			for (use in uses) {
				split(use, part, "\t")
				if (part[2] in home)
					printf "%s\t%s\t%s\n", part[1], home[part[2]], part[2]
			}
		}' "$WORK/objects" "$WORK/symbols"
}

# make_arrows: into $WORK/arrows, once.
make_arrows() {
	[[ ! -s $WORK/arrows ]] || return 0
	include_arrows >"$WORK/includes" && call_arrows >"$WORK/calls" || return 1
	[[ -s $WORK/includes && -s $WORK/calls ]] || return 1
	sort -o "$WORK/arrows" "$WORK/includes" "$WORK/calls"
}

# ---- names -------------------------------------------------------------------------------------------------

# What would lead around both kinds of arrow.
check_names() {
	local -a files
	local status=0 include='^[[:space:]]*#[[:space:]]*(include|include_next|import)\>[[:space:]]*'
	mapfile -t files < <(house_files)
	printf '%s\n' "${files[@]##*/}" | sort >"$WORK/names"
	told "an #include says a bare name, so a name is used once in all folders" "$(uniq -d "$WORK/names")" || status=1
	told "an #include says one header: \"ours.h\", without a folder, or <of-the-system.h>" \
		"$(grep -nE "$include" "${files[@]}" |
			grep -vE '#[[:space:]]*include[[:space:]]*("[a-z0-9_]+\.h"|<[a-zA-Z0-9_./-]+\.h>)')" || status=1
	told "in quotes stand headers of our own, and there is none of this name" \
		"$(sed -nE "s/$include\"([^\"]*)\".*/\2/p" "${files[@]}" | sort -u | grep -vxFf "$WORK/names")" ||
		status=1
	told "headers of our own stand in quotes" \
		"$(grep -nE "$include<" "${files[@]}" | grep -Ff <(sed 's/.*/<&>/' "$WORK/names"))" || status=1
	told "what another file defines is declared in a header" \
		"$(grep -nE '^[[:space:]]*extern\>' "${files[@]}" | grep '\.c:')" || status=1
	return "$status"
}

# ---- rooms -------------------------------------------------------------------------------------------------

# room_table: a line "FOLDER FOLDER WHAT-IT-MAY-SEE..." for each folder.
room_table() {
	local room
	for room in "${!ROOMS[@]}"; do
		printf '%s %s %s\n' "$room" "$room" "${ROOMS[$room]}"
	done
}

# all_ways: from such a table a line "FOLDER<tab>WHAT-IT-MAY-SEE" for each thing, with what comes with it (Warshall).
all_ways() {
	awk '
		{ for (i = 2; i <= NF; i++) { sees[$1, $i]; seen[$i] } rooms[$1] }
		END {
			for (middle in rooms)
				for (from in rooms) if ((from, middle) in sees)
					for (to in seen) if ((middle, to) in sees && to !~ /:/) sees[from, to]
			for (way in sees) { sub(SUBSEP, "\t", way); print way }
		}'
}

# forbid REGEX FOLDER: no #include <REGEX...> in there.
forbid() {
	local status=0
	grep -rnE --include='*.[ch]' "^[[:space:]]*#[[:space:]]*include[[:space:]]*<$1" "$2" || status=$?
	((status == 1)) # 2: the folder is not there
}

# Libraries of the system that a folder does without.
check_system_headers() {
	local status=0
	forbid '(liburing|libvirt|openssl|json-c|libxml|libfyaml)' engine || status=1
	forbid '(libvirt|json-c|libxml|libfyaml)' transport || status=1
	forbid '(liburing|openssl|libfyaml)' qemu-glue || status=1
	return "$status"
}

# The compiler is told of the folders that a file may see, and of no other way to our headers.
check_compiler_flags() {
	room_table | sed 's/:[^ ]*//g' | all_ways >"$WORK/folders" # to see one header is to be given its folder
	compiled | awk -F '\t' -v prefix="-iquote$ROOT/" '
		NR == FNR { sees[$1, $2]; next }
		$2 !~ /^-(iquote|I|include|imacros)/ { next }
		{
			room = $1
			sub("/[^/]*$", "", room)
			if (index($2, prefix) == 1 && (room, substr($2, length(prefix) + 1)) in sees)
				next
			print $1 " is compiled with " $2
			bad = 1
		}
		END { exit bad }' "$WORK/folders" -
}

# who_breaks_in ARROWS: those of the file that leave a folder for one that it may not see.
who_breaks_in() {
	awk -F '\t' '
		function room(path) { sub("/[^/]*$", "", path); return path }
		function stem(path) { sub(".*/", "", path); sub("\\.[ch]$", "", path); return path }
		function is_lent(from, to,    n, i, lent, part) {
			n = split(lent_to[room(from)], lent, " ")
			for (i = 1; i <= n; i++) {
				split(lent[i], part, ":")
				if (room(to) == part[1] && index(stem(to) "_", stem(part[2]) "_") == 1)
					return 1
			}
			return 0
		}
		NR == FNR { sees[$1, $2]; if ($2 ~ /:/) lent_to[$1] = lent_to[$1] " " $2; next }
		((room($1), room($2)) in sees) || is_lent($1, $2) { next }
		{ print ($3 == "includes" ? $1 " includes " $2 : $1 " uses " $3 " of " $2); bad = 1 }
		END { exit bad }' "$WORK/allowed" "$1"
}

check_rooms() {
	local status=0
	make_arrows && room_table | all_ways >"$WORK/allowed" || return 1
	check_system_headers || status=1
	check_compiler_flags || status=1
	who_breaks_in "$WORK/arrows" || status=1
	((status == 0)) || printf '    who may see whom is told in tests/rules/arrows.bash and in CMakeLists.txt\n'
	return "$status"
}

# ---- circles -----------------------------------------------------------------------------------------------

check_circles() {
	make_arrows || return 1
	awk -f tests/rules/circles.awk "$WORK/arrows" && return 0
	printf '    a file that others stand on does not call them: make two of it, or let it be told by a pointer\n'
	return 1
}

# ---- the checks themselves ---------------------------------------------------------------------------------

# finds TEXT CMD...: CMD must fail, and print TEXT.
finds() {
	local text=$1 output
	shift
	if output=$("$@") || [[ $output != *"$text"* ]]; then
		printf "does not say '%s', but: %s\n" "$text" "$output"
		return 1
	fi
}

arrow() {
	printf '%s\t%s\t%s\n' "$@"
}

check_itself() {
	room_table | all_ways >"$WORK/allowed"
	arrow engine/a.c transport/b.c b_send >"$WORK/climbs"
	arrow tools/outgoing/a.c tools/incoming/b.h includes >"$WORK/crosses"
	arrow tools/recovery/a.c tools/outgoing/steering.c steering_new >"$WORK/takes"
	arrow tools/recovery/a.c tools/outgoing/page_link_open.c page_link_open >"$WORK/borrows"
	{ arrow engine/a.c engine/b.h includes && arrow engine/b.c engine/c.c c_do && arrow engine/c.h engine/a.h includes; } \
		>"$WORK/circle"
	{ arrow engine/a.c engine/b.h includes && arrow engine/b.c engine/c.c c_do && arrow engine/a.c engine/c.c c_do; } \
		>"$WORK/no_circle"
	finds "engine/a.c uses b_send of transport/b.c" who_breaks_in "$WORK/climbs" &&
		finds "tools/outgoing/a.c includes tools/incoming/b.h" who_breaks_in "$WORK/crosses" &&
		finds "steering_new" who_breaks_in "$WORK/takes" &&
		who_breaks_in "$WORK/borrows" &&
		finds "circle of 3 modules" awk -f tests/rules/circles.awk "$WORK/circle" &&
		awk -f tests/rules/circles.awk "$WORK/no_circle"
}
