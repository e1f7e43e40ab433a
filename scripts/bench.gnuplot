# SPDX-License-Identifier: GPL-2.0-only
# The plots of make bench, from the data that bench-table has written, as SVG.
set terminal svg size 1000,760 font "sans,13" background "white"
set multiplot layout 2,2
set style fill solid 0.8 noborder
set grid ytics lc rgb "#dddddd"
set key top left
before = "#b0b0b0"
after = "#2166ac"

set title "Instructions"
set style data histogram
set style histogram clustered gap 1
set logscale y
set yrange [10:*]
set xtics ("last put" 0, "first put" 1, "16 in hardirq" 2, "free" 3)
plot "costs.dat" using 2 title "before" lc rgb before, \
     "costs.dat" using 3 title "after" lc rgb after

set title "Creation and use, instructions, with so many waiting"
unset logscale y
set yrange [0:40000]
set xtics ("0" 0, "1000" 1, "1 000 000" 2)
plot "creation.dat" using 2 title "before" lc rgb before, \
     "creation.dat" using 3 title "after" lc rgb after

set title "Close of a file with so many contexts:\ninstructions per context"
set yrange [0:*]
set xtics ("1" 0, "1000" 1, "50 000" 2, "100 000" 3)
set key top right
plot "close.dat" using 2 title "before" lc rgb before, \
     "close.dat" using 3 title "after" lc rgb after

set title "Pairs per second until all memory is back:\nafter to before, median and spread"
set xtics auto rotate by -25
set xtics font "sans,10"
set yrange [0.6:1.6]
set xrange [-0.5:3.5]
set rmargin 8
unset key
set bars 2
plot "rates.dat" using 0:2:3:4:xtic(1) with yerrorbars pt 7 ps 0.8 lw 1.5 lc rgb after, \
     1 with lines lc rgb "#888888" dt 2
