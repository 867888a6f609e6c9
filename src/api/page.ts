import { count, type Document, type Method, type Operation, type Parameter } from './document.ts';
import { type Header, type Media, type Response, resolved, type Schema } from './document.ts';
import { curl, type ExampleRequest, exampleRequests, placeholders, schemesOf } from './curl.ts';
import { Html, html, inline, markdown } from './html.ts';
import { script } from './page-script.ts';
import { style } from './page-style.ts';

/** An operation and where it stands. */
type Placed = { readonly path: string; readonly method: Method; readonly operation: Operation };

const formPath = '/debug/postback/v3/event/{database}/{table}';

/** The document as a page that needs nothing from elsewhere. */
export function page(document: Document): string {
  const { info, tags } = document;
  const placed = operationsOf(document);
  const groups = tags.map((tag) => {
    return { tag, members: placed.filter(({ operation }) => operation.tags.includes(tag.name)) };
  });
  const body = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${info.title} API</title>
<style>${new Html(style)}</style>
</head>
<body>
<header>
<h1>${info.title} <small>${info.version}</small></h1>
<p>${inline(info.summary)}</p>
${markdown(info.description)}
<p>This page as <a href="/openapi.json">OpenAPI in JSON</a> and
<a href="/openapi.yaml">in YAML</a>. ${info.license.name}.</p>
</header>
<div class="frame">
<nav aria-label="Operations"><ul>
<li><a href="#write-key">Write key</a></li>
${groups.map(({ tag, members }) => navigation(tag.name, members))}
<li><a href="#refusals">Refusals</a></li>
</ul></nav>
<main>
${keys(document)}
${groups.map(
  ({ tag, members }) => html`<section id="${slug(tag.name)}">
<h2>${tag.name}</h2>
<p>${inline(tag.description)}</p>
${members.map((one) => section(document, one))}
</section>
`,
)}
${refusals(document)}
</main>
</div>
<script>${new Html(script)}</script>
</body>
</html>
`;
  return body.text;
}

function operationsOf({ paths }: Document): readonly Placed[] {
  return Object.entries(paths).flatMap(([path, item]) =>
    (['post', 'get'] as const).flatMap((method) => {
      const operation = item[method];
      return operation ? [{ path, method, operation }] : [];
    }),
  );
}

function slug(name: string): string {
  return name.toLowerCase().replace(/\W+/g, '-');
}

function navigation(name: string, members: readonly Placed[]): Html {
  return html`<li><a href="#${slug(name)}">${name}</a><ul>
${members.map(
  ({ operation }) =>
    html`<li><a href="#${operation.operationId}">${inline(operation.summary)}</a></li>
`,
)}</ul></li>
`;
}

function keys({ components }: Document): Html {
  const rows = Object.values(components.securitySchemes).map((scheme) => {
    const { type, name = '', in: where = '', description } = scheme;
    const [shown, place] = type === 'http' ? ['Authorization', 'header'] : [name, where];
    return html`<div><dt><code>${shown}</code> <small>${place}</small></dt>
<dd>${inline(description)}</dd></div>
`;
  });
  return html`<section id="write-key">
<h2>Write key</h2>
<p>A key says who may write where. It is sent in one of these forms.</p>
<dl>${rows}</dl>
<p><label>Your key, for the examples on this page. It is not kept.
<input id="key" autocomplete="off" spellcheck="false" placeholder="${placeholders.key}">
</label></p>
</section>
`;
}

function section(document: Document, { path, method, operation }: Placed): Html {
  const { operationId, summary, description, requestBody: body } = operation;
  return html`<section id="${operationId}">
<h3>${inline(summary)} <a class="anchor" href="#${operationId}" aria-label="Link to this">#</a></h3>
<p class="route"><b class="method ${method}">${method.toUpperCase()}</b> <code>${path}</code></p>
${markdown(description)}
${examples(document, { path, method, operation })}
${path === formPath ? form(document, { path, method, operation }) : ''}
${parameters(document, operation)}
${body ? html`<h4>Body</h4><p>${inline(body.description)}</p>${types(body.content)}` : ''}
${answers(document, operation)}
</section>
`;
}

/** The first example, and the others behind a click. */
function examples(document: Document, { path, method, operation }: Placed): Html {
  const all = exampleRequests(document, path, method, operation);
  const [first, ...others] = all;
  const answer = resolved<Response>(document, operation.responses['200'] ?? { description: '' });
  const [type = ''] = Object.keys(answer.content ?? {});
  const block = (request: ExampleRequest) => command(curl(request, type.startsWith('image/')));
  return html`<h4>Example</h4>
${first ? block(first) : ''}
${others.map(
  (
    request,
  ) => html`<details><summary>${inline(request.summary)}</summary>${block(request)}</details>
`,
)}`;
}

/** A command, whose origin and key the script replaces. */
function command(text: string): Html {
  const { origin, key } = placeholders;
  const marks: Readonly<Record<string, string>> = { [origin]: 'origin', [key]: 'key' };
  const parts = text.split(new RegExp(`(${origin}|${key})`)).map((part) => {
    const mark = marks[part];
    return mark === undefined ? part : html`<span class="${mark}">${part}</span>`;
  });
  return html`<div class="example"><pre><code>${parts}</code></pre></div>`;
}

function form(document: Document, { path, method, operation }: Placed): Html {
  const [example] = exampleRequests(document, path, method, operation);
  const record = (example?.body ?? '').replaceAll('\n  ', '\n');
  return html`<h4>Try it</h4>
<form id="try" data-path="${formPath}">
<label>Database <input name="database" value="demo" required></label>
<label>Table <input name="table" value="events" required></label>
<label>Record <textarea name="record" rows="10" spellcheck="false">${record}</textarea></label>
<p>The key is the one that is entered <a href="#write-key">above</a>. Nothing is stored.</p>
<button class="main">See what it would become</button>
<pre><output>–</output></pre>
</form>
`;
}

function parameters(document: Document, operation: Operation): Html | string {
  const given = operation.parameters.map((one) => resolved<Parameter>(document, one));
  const ways = schemesOf(document, operation).map(({ type, name = '', in: where = '' }) => {
    const [shown, place] = type === 'http' ? ['Authorization', 'header'] : [name, where];
    return row(shown, place, html`The <a href="#write-key">write key</a>, or in another form.`);
  });
  if (given.length + ways.length === 0) return '';
  const rows = given.map(({ name, in: where, required, description, schema }) => {
    const facts = factsOf(schema);
    const more = facts === '' ? '' : html`<small>${facts}</small>`;
    return row(
      name,
      `${where}${required ? ', required' : ''}`,
      html`${inline(description)}${more}`,
    );
  });
  const [path, rest] = [
    rows.filter((_, at) => given[at]?.in === 'path'),
    rows.filter((_, at) => given[at]?.in !== 'path'),
  ];
  return table(['Parameter', 'Meaning'], [...path, ...ways, ...rest]);
}

function table(heads: readonly string[], rows: readonly Html[]): Html {
  return html`<h4>${heads[0] ?? ''}s</h4>
<table><thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
<tbody>
${rows}</tbody></table>
`;
}

function row(name: string, note: string, meaning: Html): Html {
  return html`<tr><td><code>${name}</code> <small>${note}</small></td><td>${meaning}</td></tr>
`;
}

/** What a schema says of a single value, in words. */
function factsOf(schema: Schema): string {
  const { pattern, enum: values, minLength, maxLength } = schema;
  const facts = [
    Array.isArray(values) ? `one of ${values.join(', ')}` : '',
    typeof pattern === 'string' ? `pattern ${pattern}` : '',
    typeof minLength === 'number' && minLength > 1 ? `at least ${count(minLength)} characters` : '',
    typeof maxLength === 'number' ? `at most ${count(maxLength)} characters` : '',
  ];
  return facts.filter((fact) => fact !== '').join('; ');
}

function types(content: Readonly<Record<string, Media>>): Html {
  const names = Object.keys(content).map(
    (type, at) => html`${at > 0 ? ', ' : ''}<code>${type}</code>`,
  );
  return html`<p>As ${names}.</p>`;
}

function answers(document: Document, operation: Operation): Html {
  const rows = Object.entries(operation.responses).map(([status, given]) => {
    const { description, content = {}, headers = {} } = resolved<Response>(document, given);
    const names = Object.keys(headers).join(', ');
    const more = names === '' ? '' : html`<small>Headers: ${names}</small>`;
    const meaning = html`${inline(description)}${more}
${'$ref' in given ? '' : Object.entries(content).map(([type, media]) => samples(type, media))}`;
    return row(status, Object.keys(content).join(', '), meaning);
  });
  return table(['Answer', 'Meaning'], rows);
}

function samples(type: string, { examples: all = {} }: Media): readonly Html[] {
  return Object.values(all).map(({ summary, value }) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
    const isShort = text.length < 80;
    const block = html`<pre><code>${isShort ? text.replace(/\s+/g, ' ') : text}</code></pre>`;
    return html`<details${isShort ? new Html(' open') : ''}><summary>${inline(summary)}
<small>${type}</small></summary>${block}</details>
`;
  });
}

/** Every reason for a refusal, from the shared responses. */
function refusals({ components }: Document): Html {
  const messages = new Map<string, { readonly status: string; readonly message: string }>();
  for (const [name, { content = {} }] of Object.entries(components.responses)) {
    const [, shape, status = ''] = /^(\D+)(\d+)$/.exec(name) ?? [];
    for (const [code, { value }] of Object.entries(content['application/json']?.examples ?? {})) {
      const { error } = value as { error: string | { description: string } };
      const message = typeof error === 'string' ? error : error.description;
      if (shape !== undefined && !messages.has(code)) messages.set(code, { status, message });
    }
  }
  const rows = [...messages].toSorted(([, a], [, b]) => a.status.localeCompare(b.status));
  const headers = Object.entries(components.headers);
  return html`<section id="refusals">
<h2>Refusals</h2>
<p>A refusal is <code>{"error": "…"}</code> with a message as below. In batches it is
<code>{"error": {"name": "…", "description": "…"}}</code> with the reason and its message. A
page that gave a <code>callback</code> gets a script that calls it.</p>
${table(
  ['Reason', 'Message'],
  rows.map(([code, { status, message }]) => row(code, status, html`${message}`)),
)}
<h4>Headers of answers</h4>
<dl>${headers.map(([name, header]) => headerRow(name, header))}</dl>
</section>
`;
}

function headerRow(name: string, { description }: Header): Html {
  return html`<div><dt><code>${name}</code></dt><dd>${inline(description)}</dd></div>
`;
}
