import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/*
 * Style as a test. Lengths of functions, cycles of imports and floating promises are the linter's
 * (`npm run check`); what it cannot see is here.
 */

const root = fileURLToPath(new URL('..', import.meta.url));

/** Which rooms a room may import: the table of docs/architecture.md. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  base: [],
  event: ['base'],
  log: ['base'],
  keys: ['base', 'event'],
  store: ['base', 'event'],
  wire: ['base', 'event'],
  api: ['base', 'wire'],
  edge: ['base', 'event', 'log', 'keys', 'wire'],
  loader: ['base', 'event', 'log', 'store', 'keys'],
  query: ['base', 'event', 'store'],
  backup: ['base', 'log', 'store', 'loader'],
  fsck: ['base', 'event', 'log', 'store', 'keys'],
  supervise: ['base'],
  admin: ['base', 'event', 'query', 'store', 'loader', 'keys', 'backup', 'supervise'],
  selftest: ['base', 'fsck', 'keys', 'config.ts'],
  cli: [
    'base',
    'event',
    'log',
    'keys',
    'api',
    'admin',
    'backup',
    'fsck',
    'selftest',
    'supervise',
    'app.ts',
    'config.ts',
  ],
  'config.ts': ['base'],
  'app.ts': [
    'base',
    'event',
    'log',
    'edge',
    'api',
    'keys',
    'loader',
    'store',
    'query',
    'supervise',
    'config.ts',
    'tools.ts',
  ],
  'child.ts': ['admin', 'supervise', 'app.ts', 'config.ts', 'edges.ts', 'tools.ts'],
  'edges.ts': ['base', 'log', 'supervise', 'app.ts', 'config.ts', 'tools.ts'],
  'tools.ts': ['base', 'store', 'supervise', 'config.ts'],
  'main.ts': ['child.ts', 'cli'],
};

/** The only file that may import a run-time dependency. */
const homeOf: Readonly<Record<string, string>> = {
  '@duckdb/node-api': 'src/store/duckdb.ts',
  '@prometheus-io/client': 'src/base/metrics.ts',
  pino: 'src/base/logger.ts',
  fastify: 'src/admin/admin.ts',
  'smol-toml': 'src/config.ts',
  'ua-parser-js': 'src/event/user-agent.ts',
  selfsigned: 'src/cli/certificate.ts',
  yaml: 'src/api/pages.ts',
  'apache-arrow': 'src/query/arrow.ts',
};

const linesMax = 500;
const columnsMax = 100;
const appLinesMax = 120;

type Source = { readonly path: string; readonly text: string; readonly imports: readonly string[] };

const sources = ['src', 'test', 'bench', 'examples'].flatMap(sourcesBelow);
const inSrc = sources.filter(({ path }) => path.startsWith('src/') && !path.endsWith('.test.ts'));

function sourcesBelow(directory: string): readonly Source[] {
  return readdirSync(join(root, directory), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => {
      const path = join(directory, name);
      const text = readFileSync(join(root, path), 'utf8');
      const found = text.matchAll(/(?:from\s+|import\(\s*|^import\s+)'([^']+)'/gm);
      return { path, text, imports: [...found].map(([, specifier = '']) => specifier) };
    });
}

/** `base` for src/base/x.ts, `app.ts` for src/app.ts. */
function roomOf(path: string): string {
  return path.split('/')[1] ?? '';
}

function target(source: Source, specifier: string): string {
  return relative(root, resolve(root, dirname(source.path), specifier));
}

describe('the house', () => {
  test('there is something to look at', () => {
    expect(inSrc.length).toBeGreaterThan(40);
    expect(new Set(inSrc.map(({ path }) => roomOf(path)))).toEqual(new Set(Object.keys(mayImport)));
  });

  test('a room imports only what it may, and only by its index', () => {
    const wrong: string[] = [];
    for (const source of inSrc) {
      const room = roomOf(source.path);
      for (const specifier of source.imports.filter((name) => name.startsWith('.'))) {
        const path = target(source, specifier);
        const other = roomOf(path);
        const isInside = other === room;
        const isDoor = path === `src/${other}/index.ts` || path === `src/${other}`;
        const isAllowed = isInside ? !isDoor : isDoor && mayImport[room]?.includes(other);
        if (!isAllowed) wrong.push(`${source.path} imports ${path}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('no import goes round in a circle', () => {
    const graph = new Map(
      inSrc.map((source) => {
        const inner = source.imports.filter((name) => name.startsWith('.'));
        return [source.path, inner.map((specifier) => target(source, specifier))] as const;
      }),
    );
    const done = new Set<string>();
    const visit = (path: string, trail: readonly string[]): void => {
      expect(trail, `a circle: ${[...trail, path].join(' → ')}`).not.toContain(path);
      if (done.has(path)) return;
      for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
      done.add(path);
    };
    for (const path of graph.keys()) visit(path, []);
    expect(done.size).toBeGreaterThan(40);
  });

  test('a run-time dependency stands behind one file', () => {
    const packages = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
    };
    const wrong = inSrc.flatMap(({ path, imports }) =>
      imports
        .filter((name) => homeOf[name] !== undefined && homeOf[name] !== path)
        .map((name) => `${path} imports ${name}`),
    );
    expect(wrong).toEqual([]);
    const used = new Set(inSrc.flatMap(({ imports }) => imports));
    expect(Object.keys(packages.dependencies).filter((name) => !used.has(name))).toEqual([]);
  });

  test('every file is reached from the entry, a test, the bench or an example', () => {
    const reached = new Set<string>();
    const visit = (path: string): void => {
      if (reached.has(path)) return;
      reached.add(path);
      const source = sources.find((other) => other.path === path);
      for (const specifier of source?.imports.filter((name) => name.startsWith('.')) ?? []) {
        if (source) visit(target(source, specifier));
      }
    };
    visit('src/main.ts');
    const inUse = inSrc.filter(({ path }) => !reached.has(path)).map(({ path }) => path);
    expect(inUse).toEqual([]);
  });

  test('files and lines are not too long', () => {
    const wrong = sources.flatMap(({ path, text }) => {
      const lines = text.split('\n');
      const max = path === 'src/app.ts' ? appLinesMax : linesMax;
      const long = lines.findIndex((line) => line.length > columnsMax);
      return [
        ...(lines.length > max + 1
          ? [`${path} has ${lines.length - 1} lines, at most ${max}`]
          : []),
        ...(long >= 0 ? [`${path}:${long + 1} is longer than ${columnsMax}`] : []),
      ];
    });
    expect(wrong).toEqual([]);
  });

  test.each([
    [/process\.env(?!,)/, 'config.ts reads the environment', ['src/config.ts']],
    [
      /\b(Date\.now|new Date)\(\)/,
      'use the Clock',
      ['src/base/', 'src/cli/', 'src/supervise/', 'src/edge/answer.ts'],
    ],
    [/Math\.random|randomBytes/, 'use the Ids', ['src/base/ids.ts']],
    [/console\./, 'use the logger', ['src/cli/']],
    [/\b(TODO|FIXME|XXX)\b/, 'do it, or make an issue of it', []],
    [/@ts-(ignore|nocheck|expect-error)|\bas any\b/, 'find the type', []],
    [/\.(only|skip)\(/, 'run every test', []],
  ])('nobody writes %s: %s', (pattern, _instead, allowed) => {
    const wrong = inSrc
      .filter(
        ({ path, text }) => pattern.test(text) && !allowed.some((part) => path.startsWith(part)),
      )
      .map(({ path }) => path);
    expect(wrong).toEqual([]);
  });

  test('a room opens with what it promises', () => {
    const rooms = Object.keys(mayImport).filter((room) => !room.endsWith('.ts'));
    for (const room of rooms) {
      const text = readFileSync(join(root, 'src', room, 'index.ts'), 'utf8');
      expect(text, room).toMatch(/^\/\*\*\n[\s\S]*? \* Promises\n \* {2}1\. /);
    }
  });
});
