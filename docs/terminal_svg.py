"""Draws a terminal's text as an SVG picture, for the README.

    ci/demo | tee demo.log; python3 docs/terminal_svg.py demo.log docs/demo.svg
"""

import html
import re
import sys

COLUMN, ROW, MARGIN = 8.4, 18, 16
# What the picture leaves out: repeated bars of the same progress, and all but a few domains.
SKIP = re.compile(r"^(CERTSTORE|CLOUDPOOLS|EMAIL|IPMI_MGMT|JWT|LHOTSE|NDMP|NETWORK|PSTORE|RICE|SIQ|SNMP|SRS) ")


def lines_of(path):
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\x1b\(B|\r", "", open(path, encoding="utf-8").read())
    kept, bars = [], 0
    for line in text.splitlines():
        bars = bars + 1 if " reencrypt " in line and "[" in line else 0
        if not SKIP.match(line) and (bars == 0 or bars % 3 == 1):
            kept.append(line[:112])
    return kept


def main():
    lines = lines_of(sys.argv[1])
    width = max(map(len, lines)) * COLUMN + 2 * MARGIN
    height = len(lines) * ROW + 2 * MARGIN
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
           f'font-family="monospace" font-size="14">',
           f'<rect width="100%" height="100%" rx="8" fill="#14181f"/>']
    for i, line in enumerate(lines):
        colour = "#ffd479" if line.startswith("==") else "#8fd19e" if "[" in line else "#d7dde5"
        out.append(f'<text x="{MARGIN}" y="{MARGIN + ROW * (i + 0.75):.0f}" fill="{colour}" '
                   f'xml:space="preserve">{html.escape(line)}</text>')
    open(sys.argv[2], "w", encoding="utf-8").write("\n".join(out + ["</svg>"]) + "\n")


main()
