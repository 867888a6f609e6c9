/* The same without the hot lane. */
process.env.HOT_LANE = 'off';
await import('../../security/smuggling.test.ts');
