import { axiosFolder, axiosMain } from './.ci/axios.mjs'

const axios = axiosFolder()

// What this machine's environment says of certificates is none of the tests' business.
for (const name of ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR', 'NODE_USE_SYSTEM_CA', 'SSLKEYLOGFILE', 'OPENSSL_CONF']) delete process.env[name]

/** @type {import('jest').Config} */
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/__tests__'],
  testMatch: ['**/*.test.ts'],
  moduleNameMapper: {
    '^(\\.{1,2}/.*)\\.js$': '$1',
    '^(\\.{1,2}/.*)\\.cjs$': ['$1.cjs', '$1.cts'],
    // For every package in the suite, not only for ours.
    ...(axios && { '^axios$': axiosMain(axios) }),
  },
  transform: {
    '^.+\\.c?ts$': ['ts-jest', { tsconfig: { module: 'commonjs', moduleResolution: 'bundler', target: 'es2022', esModuleInterop: true, isolatedModules: true, rootDir: '.', types: ['node', 'jest'], skipLibCheck: true } }],
  },
  testTimeout: 30_000,
  maxWorkers: 2,
  // A failed test may leave its server behind; the run must end all the same.
  forceExit: true,
}
