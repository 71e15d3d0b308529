"""The command line: one command, one function. Speaks to hypervisors through xenproc.dom0 only."""
