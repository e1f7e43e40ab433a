# SPDX-License-Identifier: GPL-2.0-only
# How much memory four SCHED_FIFO threads take that create and destroy contexts, as SVG
set terminal svg size 800,360 font "sans,13" background "white"
set xlabel "seconds"
set ylabel "MB less free memory"
set yrange [0:450]
set grid ytics lc rgb "#dddddd"
plot "flood-before.dat" with lines lw 2 lc rgb "#b2182b" title "before: ends at 384 MB", \
     "flood-after.dat" with lines lw 2 lc rgb "#2166ac" title "after: 100,000 contexts"
