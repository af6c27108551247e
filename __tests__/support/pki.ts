// The builder is part of the package (axios-ssl-pinning/testing); the tests use it from its source.
export * from '../../lib/testing/pki.js'
export { der } from '../../lib/testing/der-writer.js'
