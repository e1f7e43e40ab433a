# Reads files NAME.before and NAME.after with lines "# bench: figure value", prints a
# table and what became of each goal, and writes both to the file "json", and the
# data of the plots to *.dat. Of figures that were measured several times, each round
# before and after, what counts is the median of the ratios.

/^# bench: / && NF == 4 && $4 ~ /^-?[0-9]+$/ {
	which = FILENAME
	sub(/.*\./, "", which)
	name = FILENAME ~ /^one_cpu/ ? "one_cpu_" $3 : $3
	if (!(name in known)) {
		known[name] = 1
		names[++count] = name
	}
	rounds[which, name]++
	value[which, name, rounds[which, name]] = $4
}

# Of v[1] to v[n], which it sorts
function median(v, n,	i, j, t) {
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && v[j - 1] > v[j]; j--) {
			t = v[j]
			v[j] = v[j - 1]
			v[j - 1] = t
		}
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function figure(which, name,	i, v) {
	for (i = 1; i <= rounds[which, name]; i++)
		v[i] = value[which, name, i]
	if (i == 1) {
		print "bench: " name " was not measured " which > "/dev/stderr"
		exit failed = 1
	}
	return median(v, i - 1)
}

# The median of after / before; the spread is in least and most
function ratio(name,	i, n, v) {
	n = rounds["before", name]
	for (i = 1; i <= n; i++) {
		if (!value["before", name, i])
			return 0
		v[i] = value["after", name, i] / value["before", name, i]
	}
	i = median(v, n)
	least = v[1]
	most = v[n]
	return i
}

function print_list(which, name,	i) {
	printf "\"%s\": [", which > json
	for (i = 1; i <= rounds[which, name]; i++)
		printf "%s%s", (i > 1 ? ", " : ""), value[which, name, i] > json
	printf "]" > json
}

function print_figures(	i, name, r) {
	printf "%-48s %12s %12s %8s\n", "figure", "before", "after", "ratio"
	printf "{\n  \"figures\": {" > json
	for (i = 1; i <= count; i++) {
		name = names[i]
		printf "%s\n    \"%s\": { ", (i > 1 ? "," : ""), name > json
		print_list("before", name)
		printf ", " > json
		print_list("after", name)
		if (rounds["before", name] != rounds["after", name]) {
			# a slab cache that was hardly used on one side
			printf "%-48s %12s %12s\n", name,
				rounds["before", name] ? figure("before", name) : "-",
				rounds["after", name] ? figure("after", name) : "-"
			printf " }" > json
			continue
		}
		r = ratio(name)
		printf "%-48s %12d %12d", name, figure("before", name), figure("after", name)
		if (r)
			printf " %8.3f", r
		if (r && rounds["before", name] > 1)
			printf " (%.3f to %.3f)", least, most
		printf "\n"
		printf ", \"ratio\": %.4f }", r > json
	}
	printf "\n  },\n  \"goals\": [" > json
	printf "\n"
}

function goal(text, got, op, limit,	met) {
	met = op == "<=" ? got <= limit : got >= limit
	printf "%-8s %-66s %10.2f %s %g\n", met ? "met" : "NOT MET", text, got, op, limit
	printf "%s\n    { \"goal\": \"%s\", \"value\": %.4f, \"limit\": \"%s %g\", \"met\": %s }",
		(goals++ ? "," : ""), text, got, op, limit, met ? "true" : "false" > json
}

# The largest of what those figures give whose names match, by mode
function extreme(pattern, mode,	i, v, best, first) {
	first = 1
	for (i = 1; i <= count; i++) {
		if (names[i] !~ pattern)
			continue
		v = mode == "after" ? figure("after", names[i]) : ratio(names[i])
		if (first || (mode == "least" ? v < best : v > best))
			best = v
		first = 0
	}
	return best
}

# The median of the ratios of all rounds of all figures with such names
function all_ratios(pattern,	i, j, n, v) {
	for (i = 1; i <= count; i++)
		for (j = 1; names[i] ~ pattern && j <= rounds["after", names[i]]; j++)
			v[++n] = value["after", names[i], j] / value["before", names[i], j]
	return median(v, n)
}

function print_goals(	none, most, pattern) {
	goal("last put, instructions", figure("after", "put"), "<=", 30)
	goal("interrupts off for 16 last puts: after to before", ratio("hardirq_16"), "<=", 0.999)

	none = figure("after", "creation_0")
	most = figure("after", "creation_1000000")
	if (figure("after", "creation_1000") > most)
		most = figure("after", "creation_1000")
	goal("creation with 1000 or 1000000 waiting: to none", most / none, "<=", 1.05)

	goal("most waiting, workqueue blocked", figure("after", "waiting_blocked"), "<=", 4)
	goal("most waiting, worker starved", extreme("^waiting_.*starved", "after"), "<=", 4)

	goal("close of a file: after to before, the largest", extreme("^close_[0-9]", "most"), "<=", 1)
	goal("until gone, a context of 100000: to one of 50000", figure("after", "gone_100000") / \
		figure("after", "gone_50000") / 2, "<=", 1.1)

	# The whole of it, with frees, in a guest whose clock counts instructions
	goal("instructions of a pair and its frees: after to before", 1 / ratio("one_cpu_rate_1_thread"), "<=", 1)
	goal("pairs per second, two CPUs: after to before, median of all", all_ratios("^rate_.*thread"), ">=", 1)
	goal("drop of free memory, kB", extreme("^drop_kB_", "after"), "<=", 48 * 1024)
	# The peak of what goes up and down, looked at every 200 contexts
	goal("slab, spam of 100000: after to before", extreme("^slab_kB_[^_]*_spam$", "most"), "<=", 1.05)
	goal("size of a context: after to before", ratio("size"), "<=", 1)
	goal("text of the driver, bytes more", figure("after", "text") - figure("before", "text"), "<=", 2048)
}

function print_plots(	i, n, name, list) {
	n = split("put put_first hardirq_16 free_100", list, " ")
	for (i = 1; i <= n; i++)
		printf "%s %d %d\n", list[i], figure("before", list[i]) / (list[i] ~ /100$/ ? 100 : 1),
			figure("after", list[i]) / (list[i] ~ /100$/ ? 100 : 1) > "costs.dat"
	n = split("0 1000 1000000", list, " ")
	for (i = 1; i <= n; i++)
		print list[i], figure("before", "creation_" list[i]),
			figure("after", "creation_" list[i]) > "creation.dat"
	n = split("1 1000 50000 100000", list, " ")
	for (i = 1; i <= n; i++)
		print list[i], figure("before", "close_" list[i]) / list[i],
			figure("after", "close_" list[i]) / list[i] > "close.dat"
	for (i = 1; i <= count; i++) {
		name = names[i]
		if (name !~ /^rate_.*thread/)
			continue
		n = ratio(name)
		sub(/^rate_/, "", name)
		gsub(/_/, " ", name)
		printf "\"%s\" %.4f %.4f %.4f\n", name, n, least, most > "rates.dat"
	}
}

END {
	if (failed)
		exit 1
	print_figures()
	print_goals()
	print "\n  ]\n}" > json
	print_plots()
}
