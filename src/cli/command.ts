import { Command, Option } from 'commander';
import { fault } from '../base/index.ts';
import {
  flagOf,
  invocation,
  readSettings,
  type SettingName,
  settings,
  type Values,
} from '../config.ts';

type Options<N extends SettingName> = {
  readonly summary: string;
  readonly settings: readonly N[];
  /** What a setting means here, where it is not what it means elsewhere. */
  readonly help?: Readonly<Partial<Record<SettingName, string>>>;
  /** Positional arguments as commander writes them, for example `<id> [sql]`. */
  readonly argument?: string;
  /** Lines of examples, without the program's name. */
  readonly examples: readonly string[];
  readonly run: (values: Values<N>, ...args: (string | undefined)[]) => Promise<void>;
};

function oneMore(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

/** A command whose flags come from the table of settings. `data` and `config` are always there. */
export function defineCommand<N extends SettingName>(name: string, options: Options<N>): Command {
  const command = new Command(name).description(options.summary);
  if (options.argument) command.arguments(options.argument);
  for (const setting of new Set<SettingName>(['data', 'config', ...options.settings])) {
    const { help, schema, ...rest } = settings[setting];
    const value = 'value' in rest ? ` <${rest.value}>` : '';
    const fallback = schema.safeParse(undefined).data;
    const isSilent = fallback === undefined || fallback === false || Array.isArray(fallback);
    const shown = isSilent ? '' : ` (default: ${fallback})`;
    const text = options.help?.[setting] ?? help;
    const option = new Option(flagOf(setting) + value, text + shown);
    if ('repeats' in rest) option.argParser(oneMore);
    command.addOption(option);
  }
  const examples = options.examples.map((line) => `  ${invocation()} ${line}`).join('\n');
  command.addHelpText('after', `\nExamples:\n${examples}`);
  command.allowExcessArguments();
  command.action(async (...given: unknown[]) => {
    if (command.args.length > command.registeredArguments.length) {
      // What is too much is not repeated: it may be a key.
      const seen = `too many arguments: ${command.args.length}`;
      const path = [command.parent?.parent && command.parent.name(), name].filter(Boolean);
      throw fault('BAD_USAGE', { seen, hint: `See: millrace ${path.join(' ')} --help` });
    }
    const args = given.slice(0, command.registeredArguments.length) as (string | undefined)[];
    await options.run(readSettings(options.settings, command.opts()), ...args);
  });
  return command;
}
