"""`make bench`: what is measured, against what, and the bars."""
