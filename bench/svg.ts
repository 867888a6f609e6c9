/** A picture that stands by itself, in the colours of the reader's system. */
export function svg(
  width: number,
  height: number,
  title: string,
  style: string,
  inner: string,
): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" \
width="${width}" height="${height}" role="img">
<title>${escapeXml(title)}</title>
<style>
svg{color:#1f2328;background:#fff;font:12px system-ui,sans-serif}
text{fill:currentColor}.title{font-size:15px;font-weight:600}.note{font-size:11px;opacity:.7}
@media (prefers-color-scheme:dark){svg{color:#e6edf3;background:#0d1117}}
${style}
</style>
${inner}
</svg>
`;
}

export function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (one) => `&#${one.charCodeAt(0)};`);
}
