/** The script of the page: real origin and key in the examples, copying, and the form. */
export const script = `
'use strict';
const all = (selector) => document.querySelectorAll(selector);
const show = (selector, text) => all(selector).forEach((one) => { one.textContent = text; });

if (location.origin.startsWith('http')) show('.origin', location.origin);

const key = document.querySelector('#key');
key.addEventListener('input', () => show('.key', key.value.trim() || key.placeholder));

if (navigator.clipboard) {
  all('.example').forEach((example) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = 'Copy';
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(example.querySelector('code').textContent);
      button.textContent = 'Copied';
      setTimeout(() => { button.textContent = 'Copy'; }, 2000);
    });
    example.append(button);
  });
}

const form = document.querySelector('#try');
const output = form.querySelector('output');
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const field = (name) => form.elements[name].value.trim();
  const path = form.dataset.path.replace(/\\{(\\w+)\\}/g, (_, name) => {
    return encodeURIComponent(field(name));
  });
  output.textContent = '…';
  try {
    const response = await fetch(path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-TD-Write-Key': key.value.trim() },
      body: form.elements.record.value,
    });
    output.textContent = response.status + ' ' + response.statusText + '\\n\\n' +
      (await response.text());
  } catch (error) {
    output.textContent = String(error);
  }
});
`;
