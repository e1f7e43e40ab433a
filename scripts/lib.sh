# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only
# Sourced by the scripts, also by suite.sh
# shellcheck disable=SC2034 # they use it
top=$(cd "$(dirname "$0")/.." && pwd)
# The flags and variables of the make that called are not for the kernel.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES

# In the output of tests, $comment begins the line.
say() {
	echo "${comment:-}${0##*/}: $*" >&2
}

die() {
	say "$*"
	exit 1
}
