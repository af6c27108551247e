import base from './jest.config.mjs'

/** What takes minutes or needs programs from Debian's packages: `npm run test:slow`. */
export default { ...base, testMatch: ['**/*.slow.ts'], testTimeout: 300_000, maxWorkers: 2 }
