import { escapeXml, svg } from '../svg.ts';
import type { Call } from './tree.ts';

const [width, rowHeight, top, margin] = [1200, 18, 64, 10];
/** Of a letter, as it is drawn. */
const letterWidth = 6.2;
/** Of all time: below it a call is not drawn. */
const shareMin = 0.003;

const style = `text{font-size:11px;pointer-events:none}.title{font-size:15px}
rect{stroke:#fff;stroke-width:.5}
.own{fill:#a6d8bf}.node{fill:#b5cdeb}.native{fill:#f2d2a4}.gc{fill:#eda9a3}.other{fill:#d6c5ea}
@media (prefers-color-scheme:dark){rect{stroke:#0d1117}
.own{fill:#22573f}.node{fill:#2a4365}.native{fill:#6b4d1c}.gc{fill:#7a3029}.other{fill:#4c3a66}}`;

const kinds = [
  ['own', 'Millrace'],
  ['node', 'Node'],
  ['native', 'native code'],
  ['gc', 'garbage collector'],
  ['other', 'dependencies'],
] as const;

/**
 * Who called whom, from the top: the wider, the more time in it and in what it called.
 * @param microsEach what all of it costs for one event.
 */
export function flameGraph(title: string, root: Call, microsEach: number): string {
  const scale = (width - 2 * margin) / root.total;
  const drawn: string[] = [];
  let deepest = 0;
  const draw = (call: Call, x: number, depth: number): void => {
    deepest = Math.max(deepest, depth);
    drawn.push(rectangle(call, x, depth));
    let at = x;
    for (const callee of [...call.calls.values()].sort((a, b) => b.total - a.total)) {
      if (callee.total < shareMin * root.total) continue;
      draw(callee, at, depth + 1);
      at += callee.total * scale;
    }
  };
  const rectangle = (call: Call, x: number, depth: number): string => {
    const y = top + depth * rowHeight;
    const wide = call.total * scale;
    const share = call.total / root.total;
    const where = call.place ? ` ${call.place}:${call.line}` : '';
    const spent = `${(share * microsEach).toFixed(2)} µs an event, ${(share * 100).toFixed(1)} %`;
    const letters = Math.floor((wide - 4) / letterWidth);
    const name = labelOf(call);
    const cut = name.length > letters ? `${name.slice(0, letters - 1)}…` : name;
    const label =
      letters < 3 ? '' : `<text x="${fixed(x + 3)}" y="${y + 13}">${escapeXml(cut)}</text>`;
    return `<g><title>${escapeXml(`${call.name}${where}, ${spent}`)}</title>\
<rect x="${fixed(x)}" y="${y}" width="${fixed(wide)}" height="${rowHeight}" \
class="${kindOf(call)}"/>${label}</g>`;
  };
  if (root.total > 0) draw(root, margin, 0);
  const legend = kinds.map(([kind, name], index) => {
    const x = margin + index * 140;
    return `<rect x="${x}" y="36" width="12" height="12" class="${kind}"/>
<text x="${x + 17}" y="46">${name}</text>`;
  });
  const head = `<text x="${margin}" y="24" class="title">${escapeXml(title)}</text>`;
  const height = top + (deepest + 1) * rowHeight + margin;
  return svg(width, height, title, style, [head, ...legend, ...drawn].join('\n'));
}

function labelOf({ name, place, line }: Call): string {
  return name === '(anonymous)' && place ? `${place.split('/').at(-1)}:${line}` : name;
}

function kindOf({ name, place }: Call): (typeof kinds)[number][0] {
  if (name === '(garbage collector)') return 'gc';
  if (place === '') return 'native';
  if (place.startsWith('node:')) return 'node';
  return /^(src|bin|dist)\//.test(place) ? 'own' : 'other';
}

function fixed(value: number): string {
  return String(Math.round(value * 10) / 10);
}
