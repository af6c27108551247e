import { execFileSync } from 'node:child_process'
import { loadModule } from '../../lib/policy/load-module.js'

test('an ESM-only package is loaded from CommonJS, under jest without flags', async () => {
  const { HttpsProxyAgent } = await loadModule('https-proxy-agent', () => import('https-proxy-agent'))
  expect(new HttpsProxyAgent('http://proxy.example:8080').proxy.hostname).toBe('proxy.example')
})

test('one that is missing rejects', async () => {
  await expect(loadModule('no-such-package', () => Promise.reject(new Error('unreadable')))).rejects.toThrow(/Cannot find package 'no-such-package'/)
})

test.each(['cjs', 'esm'])('and from the %s build', (build) => {
  const script = `import { loadModule } from './dist/modules/${build}/policy/load-module.js'
    console.log(typeof (await loadModule('https-proxy-agent', () => import('https-proxy-agent'))).HttpsProxyAgent)`
  expect(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })).toBe('function\n')
})
