/* What a `.cpuprofile` says, as a tree of calls and as a list of places. */

/** As V8 writes it; times in µs. */
export type CpuProfile = {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
    };
    readonly children?: readonly number[];
  }[];
  readonly startTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
};

/** A function as it was called from where it stands; times in µs, with all that it called. */
export type Call = {
  readonly name: string;
  /** Its file; empty for what is no JavaScript. */
  readonly place: string;
  readonly line: number;
  own: number;
  total: number;
  readonly calls: Map<string, Call>;
};

export type Window = { readonly fromMicros: number; readonly toMicros: number };

/** Of the samples of a window of the monotonic clock, without those in which nothing was done. */
export function callTree(profile: CpuProfile, { fromMicros, toMicros }: Window): Call {
  const own = new Map<number, number>();
  let atMicros = profile.startTime;
  for (const [index, id] of profile.samples.entries()) {
    // A sample stands for the time since the one before.
    const delta = profile.timeDeltas[index] ?? 0;
    atMicros += delta;
    if (atMicros >= fromMicros && atMicros <= toMicros) own.set(id, (own.get(id) ?? 0) + delta);
  }
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const add = (id: number, into: Call): number => {
    const node = nodes.get(id);
    if (!node || node.callFrame.functionName === '(idle)') return 0;
    const call = id === profile.nodes[0]?.id ? into : calleeOf(into, node.callFrame);
    let total = own.get(id) ?? 0;
    call.own += total;
    for (const child of node.children ?? []) total += add(child, call);
    call.total += total;
    return total;
  };
  const root = newCall('all', '', 0);
  const [first] = profile.nodes;
  if (first) add(first.id, root);
  return root;
}

function calleeOf(into: Call, frame: CpuProfile['nodes'][number]['callFrame']): Call {
  const place = placeOf(frame.url);
  const key = `${frame.functionName}\n${place}\n${frame.lineNumber}`;
  let call = into.calls.get(key);
  if (!call) {
    call = newCall(frame.functionName || '(anonymous)', place, frame.lineNumber + 1);
    into.calls.set(key, call);
  }
  return call;
}

function newCall(name: string, place: string, line: number): Call {
  return { name, place, line, own: 0, total: 0, calls: new Map() };
}

/** `src/edge/hot.ts`, the name of a package, or a module of Node. */
function placeOf(url: string): string {
  const [, dependency] = /\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? [];
  const [, ours] = /\/((?:src|bin|dist)\/.*)$/.exec(url) ?? [];
  return dependency ?? ours ?? url;
}

export type Spent = { readonly place: string; readonly share: number };

/** Where the time itself was spent, by file, the most first; native functions by their name. */
export function spentByPlace(root: Call): readonly Spent[] {
  const spent = new Map<string, number>();
  const add = (call: Call): void => {
    const place = call.place || nativeName(call.name);
    spent.set(place, (spent.get(place) ?? 0) + call.own);
    for (const one of call.calls.values()) add(one);
  };
  add(root);
  const all = [...spent].filter(([, micros]) => micros > 0).sort(([, a], [, b]) => b - a);
  return all.map(([place, micros]) => ({ place, share: micros / root.total }));
}

function nativeName(name: string): string {
  if (name === '(program)') return 'native code outside JavaScript: event loop, system calls';
  if (name === '(garbage collector)') return 'garbage collector';
  return `native ${name}`;
}
