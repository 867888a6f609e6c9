import type { ChildConfig } from '../../src/app.ts';

/** The configuration of edges without doors of their own, and of the store behind them. */
export function configOf(data: string, edges = 1): ChildConfig {
  return {
    data,
    host: '',
    port: undefined,
    adminPort: undefined,
    role: 'all',
    edges,
    instance: 'test',
    hotLane: process.env.HOT_LANE === 'off' ? 'off' : 'on',
    strict: false,
    trustedProxies: [],
    redirectHosts: [],
    globalId: 'off',
    sscDomains: [],
    diskReserve: 0,
    logLevel: 'error',
    quarantineBytes: 0,
    quarantineDays: 0,
    archiveMinutes: 60,
    compactionShare: 25,
    rawDays: 0,
    alarmWebhook: undefined,
    tls: undefined,
  };
}
