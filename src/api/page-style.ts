/** The style of the page. */
export const style = `
:root {
  color-scheme: light dark;
  --text: #1b1f24; --soft: #57606a; --back: #ffffff; --raised: #f5f6f8; --line: #d9dde2;
  --accent: #0b62c4; --get: #0b62c4; --post: #1a7f37;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #e4e7eb; --soft: #9aa4af; --back: #14171b; --raised: #1d2126; --line: #343a41;
    --accent: #6cb0ff; --get: #6cb0ff; --post: #57c271;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body {
  margin: 0; background: var(--back); color: var(--text);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: break-word;
}
a { color: var(--accent); text-underline-offset: .15em; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
header, nav, main { padding: 1rem 1.25rem; }
header { border-bottom: 1px solid var(--line); }
header p { max-width: 46rem; margin: .5rem 0; }
h1 { margin: 0; font-size: 1.6rem; }
h1 small { color: var(--soft); font-size: .9rem; font-weight: normal; }
h2 { margin: 2.5rem 0 .25rem; font-size: 1.35rem; }
h3 { margin: 0; font-size: 1.1rem; }
h4 { margin: 1.25rem 0 .4rem; font-size: .8rem; color: var(--soft); text-transform: uppercase;
  letter-spacing: .05em; }
main > :first-child, main > :first-child h2 { margin-top: 0; }
main p { max-width: 46rem; margin: .5rem 0; }
main section section { padding: 1.25rem 0; border-top: 1px solid var(--line); margin-top: 1.25rem; }
code, pre, textarea, input { font-family: ui-monospace, Menlo, Consolas, monospace; }
code { font-size: .88em; background: var(--raised); padding: .1em .3em; border-radius: .3em; }
.route { display: flex; gap: .6rem; align-items: baseline; margin: .3rem 0 .6rem; }
.route code { background: none; padding: 0; overflow-wrap: anywhere; }
.method { font: 700 .75rem/1 ui-monospace, Menlo, Consolas, monospace; color: var(--get); }
.method.post { color: var(--post); }
.anchor { text-decoration: none; color: var(--soft); font-weight: normal; }
pre {
  margin: .4rem 0; padding: .75rem 1rem; overflow-x: auto; background: var(--raised);
  border: 1px solid var(--line); border-radius: .5rem; font-size: .85rem; line-height: 1.5;
}
pre code { padding: 0; background: none; font-size: inherit; }
.example { position: relative; }
.example button { position: absolute; top: .45rem; right: .45rem; padding: .15rem .6rem;
  font-size: .75rem; }
dl { margin: .4rem 0; border-top: 1px solid var(--line); }
dl > div { padding: .5rem 0; border-bottom: 1px solid var(--line); }
dd { margin: 0; }
dt small, dd small { color: var(--soft); }
dt { overflow-wrap: anywhere; }
table { width: 100%; table-layout: fixed; border-collapse: collapse; margin: .4rem 0; }
th:first-child { width: 13rem; }
th { text-align: left; font-size: .8rem; color: var(--soft); font-weight: 600; }
th, td { padding: .45rem .75rem .45rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td small { display: block; color: var(--soft); overflow-wrap: anywhere; }
td:last-child { padding-right: 0; }
form pre { max-height: 24rem; overflow-y: auto; background: var(--back); }
summary { cursor: pointer; color: var(--accent); margin: .4rem 0; }
nav ul { list-style: none; margin: 0; padding: 0; font-size: .9rem; }
nav > ul > li { margin-bottom: .75rem; }
nav li li a { display: block; padding: .15rem 0; text-decoration: none; color: var(--text); }
nav li li a:hover { color: var(--accent); }
form { display: grid; grid-template-columns: minmax(0, 1fr);
  gap: .75rem; padding: 1rem; border: 1px solid var(--line);
  border-radius: .5rem; background: var(--raised); max-width: 46rem; }
label { display: grid; gap: .25rem; font-size: .85rem; color: var(--soft); }
input, textarea {
  width: 100%; padding: .45rem .6rem; font-size: .9rem; color: var(--text);
  background: var(--back); border: 1px solid var(--line); border-radius: .4rem;
}
button {
  font: inherit; padding: .4rem 1rem; border: 1px solid var(--line); border-radius: .4rem;
  background: var(--back); color: var(--text); cursor: pointer; justify-self: start;
}
button.main { background: var(--accent); border-color: var(--accent); color: var(--back); }
@media (max-width: 40rem) {
  thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  table, tbody, tr, td { display: block; }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--line); }
  td { padding: 0 0 .15rem; border: 0; }
}
@media (min-width: 62rem) {
  .frame { display: grid; grid-template-columns: 17rem minmax(0, 56rem); gap: 1rem; }
  nav { position: sticky; top: 0; max-height: 100vh; overflow-y: auto;
    border-right: 1px solid var(--line); }
}
`;
