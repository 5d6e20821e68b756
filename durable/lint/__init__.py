"""The linter: finds nondeterminism in workflow code without running it.

Where things are:
    check             from files to a report; the public functions
    disk, source      files, and their syntax trees: the only I/O of the package
    project, module   modules that import each other; functions and classes in them
    scope, value      which names there are, and what the linter tells apart
    inference, member, result, annotation, taskset    what an expression may be
    region, reach     which code is workflow code
    forbidden, awaiting, ordering, state, variable, cancellation, naive    the checks
    code, finding, problem, suppression, sarif    codes, what is reported, what is ignored, formats
"""

from durable.lint.check import check_paths, check_sources
from durable.lint.code import CODES, Code
from durable.lint.disk import Files
from durable.lint.finding import Finding, Report
from durable.lint.sarif import to_sarif

__all__ = ["CODES", "Code", "Files", "Finding", "Report", "check_paths", "check_sources", "to_sarif"]
