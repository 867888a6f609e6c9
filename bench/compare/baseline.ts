import { figure, type Line, lineNames, lines } from './lines.ts';
import type { Report } from './report.ts';

const shareMin = 0.85;

/**
 * One warning for each line that is below 0.85 of what it was, whichever way is better for it.
 * Of another machine only ratios are compared.
 */
export function warnings(
  before: Pick<Report, 'cpu' | 'lines'>,
  now: Pick<Report, 'cpu' | 'lines'>,
): readonly string[] {
  return lineNames.flatMap((name) => {
    const line: Line = lines[name];
    const [was, is] = [before.lines[name], now.lines[name]];
    if (!was || !is || !('value' in was && 'value' in is)) return [];
    if (before.cpu !== now.cpu && line.unit !== '×') return [];
    const share = line.bound === 'at least' ? is.value / was.value : was.value / is.value;
    if (share >= shareMin) return [];
    const both = `${figure(is.value, line.unit)}, was ${figure(was.value, line.unit)}`;
    return [`${name}: ${both}: ${share.toFixed(2)} of it (${line.what})`];
  });
}
