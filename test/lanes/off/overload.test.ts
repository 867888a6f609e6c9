/* The same without the hot lane. */
process.env.HOT_LANE = 'off';
await import('../../overload.test.ts');
