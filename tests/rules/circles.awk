# SPDX-License-Identifier: Apache-2.0
#
# circles.awk: reads arrows, lines "FROM<tab>TO<tab>REASON", and prints each circle of modules with what ties it. Exit
# status 1 if there is one.
#
# A module is X.c and X.h. NAME_private.h is none: it is what the files NAME*.c share, and embeds what each of them
# declares, while each of them includes it; so that they include it does not count, and who calls whom tells them
# apart. What such a header includes counts: among headers there is no circle either.

function module(path) {
	sub(".*/", "", path)
	if (path !~ /_private\.h$/)
		sub("\\.[ch]$", "", path)
	return path
}

BEGIN {
	FS = "\t"
}

{
	from = module($1)
	to = module($2)
	if (from == to || ($1 ~ /\.c$/ && $2 ~ /_private\.h$/))
		next
	arrow[from, to]
	files = ($3 == "includes" ? $1 " includes " $2 : $1 " uses of " $2 ":")
	if (!((from, to, files) in why))
		reasons[from, to] = reasons[from, to] files "\n"
	why[from, to, files] = why[from, to, files] ($3 == "includes" ? "" : " " $3)
}

# What is in no circle goes first: arrows from a module that none reaches, or to one that none leaves, again and again.
function peel(    e, part, leaves, reached, gone) {
	do {
		gone = 0
		split("", leaves)
		split("", reached)
		for (e in arrow) {
			split(e, part, SUBSEP)
			leaves[part[1]]
			reached[part[2]]
		}
		for (e in arrow) {
			split(e, part, SUBSEP)
			if (!(part[1] in reached) || !(part[2] in leaves)) {
				delete arrow[e]
				gone = 1
			}
		}
	} while (gone)
}

# Few are left, so each may be asked which others it reaches.
function reach(    e, part, a, b, c) {
	for (e in arrow) {
		split(e, part, SUBSEP)
		node[part[1]]
		node[part[2]]
		reaches[e]
	}
	for (b in node)
		for (a in node)
			if ((a, b) in reaches)
				for (c in node)
					if ((b, c) in reaches)
						reaches[a, c]
}

function print_circle(first,    a, b, n, names, i, line, sorted) {
	for (a in node)
		if ((first, a) in reaches && (a, first) in reaches) {
			circle[a] = first
			names = names " " a
			n++
		}
	printf "circle of %d modules:%s\n", n, names
	sorted = "sort"
	for (a in circle)
		for (b in circle)
			if (circle[a] == first && circle[b] == first && (a, b) in reasons) {
				n = split(reasons[a, b], line, "\n")
				for (i = 1; i < n; i++)
					print "    " line[i] why[a, b, line[i]] | sorted
			}
	close(sorted)
}

END {
	peel()
	reach()
	for (a in node)
		if ((a, a) in reaches && !(a in circle)) {
			print_circle(a)
			bad = 1
		}
	exit bad
}
