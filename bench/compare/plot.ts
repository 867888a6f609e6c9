import { grouped } from '../lines.ts';
import { escapeXml, svg } from '../svg.ts';

export type Bar = {
  readonly label: string;
  readonly note: string;
  readonly value: number;
  readonly least: number;
  readonly most: number;
  readonly kind: 'own' | 'other' | 'weak';
};

const [width, labelWidth, barHeight, step, top] = [780, 350, 20, 34, 56];

/** Bars from the greatest to the least, each with the range of its rounds. */
export function barPlot(title: string, unit: string, bars: readonly Bar[]): string {
  const sorted = bars.toSorted((a, b) => b.value - a.value);
  const most = Math.max(1, ...sorted.map((bar) => bar.most));
  const scale = (width - labelWidth - 80) / most;
  const drawn = sorted.map((bar, index) => {
    const y = top + index * step;
    const [from, to] = [bar.least, bar.most].map((value) => labelWidth + value * scale);
    const middle = y + barHeight / 2;
    const range = `${grouped(bar.least)} to ${grouped(bar.most)}`;
    return `<g><title>${escapeXml(`${bar.label}, ${bar.note}: ${range} ${unit}`)}</title>
<text x="${labelWidth - 8}" y="${y + 9}" text-anchor="end">${escapeXml(bar.label)}</text>
<text x="${labelWidth - 8}" y="${y + 22}" text-anchor="end" class="note">\
${escapeXml(bar.note)}</text>
<rect x="${labelWidth}" y="${y}" width="${round(bar.value * scale)}" height="${barHeight}" \
class="${bar.kind}"/>
<path d="M${round(from ?? 0)} ${middle}H${round(to ?? 0)}" class="range"/>
<text x="${round((to ?? 0) + 6)}" y="${middle + 4}">${grouped(bar.value)}</text></g>`;
  });
  const height = top + sorted.length * step + 30;
  const foot =
    'Faint bars: an acknowledged event is in memory only. Lines: least and most of the rounds.';
  const text = [
    `<text x="12" y="24" class="title">${escapeXml(title)}</text>`,
    `<text x="12" y="42" class="note">${escapeXml(unit)}</text>`,
    ...drawn,
    `<text x="12" y="${height - 10}" class="note">${foot}</text>`,
  ];
  const style = `.own{fill:#2f7d5b}.other{fill:#7a8794}.weak{fill:#b9c1c9}
.range{stroke:currentColor;stroke-width:1.5;fill:none;opacity:.6}
@media (prefers-color-scheme:dark){.own{fill:#56b98c}.other{fill:#7f8c99}.weak{fill:#4a545e}}`;
  return svg(width, height, title, style, text.join('\n'));
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
