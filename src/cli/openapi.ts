import { version } from '../config.ts';
import { defineCommand } from './command.ts';

export const openapiCommand = defineCommand('openapi', {
  summary: 'print the description of the HTTP API, as /openapi.json serves it',
  settings: ['yaml'],
  examples: ['openapi > openapi.json', 'openapi --yaml > openapi.yaml'],
  run: async ({ yaml }) => {
    const { openapiText } = await import('../api/index.ts');
    console.log((await openapiText(version(), yaml ? 'yaml' : 'json')).trimEnd());
  },
});
