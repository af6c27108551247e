import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import axios from 'axios'
import { createPinning, findDiagnosis, findPinningError } from '../../lib/index.js'
import { until, wait } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'

function isInstalled(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`])
    return true
  } catch {
    return false
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

if (!isInstalled('mitmdump')) {
  test.skip('mitmdump is not installed: apt-get install mitmproxy', () => undefined)
} else {
  test('a refusal by the certificate of the real mitmproxy says so by name, whether its CA is trusted or not', async () => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    const root = createAuthority({ name: 'Test Root' })
    const leaf = root.issue()
    const server = await startServer({ certificate: leaf })
    const folder = mkdtempSync(join(tmpdir(), 'mitmproxy-'))
    const port = await freePort()
    const proxy = spawn('mitmdump', ['--mode', `reverse:${server.url}`, '--listen-host', '127.0.0.1', '--listen-port', String(port), '--ssl-insecure', '--set', `confdir=${folder}`, '--set', 'connection_strategy=lazy', '-q'], { stdio: 'ignore' })
    try {
      const caFile = join(folder, 'mitmproxy-ca-cert.pem')
      for (let i = 0; i < 600 && !existsSync(caFile); i++) await wait(100)
      await wait(2_000)
      const ask = async (ca: string[]): Promise<unknown> => {
        const pinning = createPinning({ pins: { localhost: [leaf.pin, createSelfSigned().pin] }, tls: { ca } })
        let error: unknown
        // The port may open after the file has been written.
        for (let i = 0; i < 100; i++) {
          error = await axios.post(`https://localhost:${port}/`, 'secret', { httpsAgent: pinning.agent, proxy: false }).catch((thrown: unknown) => thrown)
          if ((error as { code?: string }).code !== 'ECONNREFUSED') break
          await wait(200)
        }
        await pinning.close()
        return error
      }
      const trusted = await ask([root.pem, readFileSync(caFile, 'utf8')])
      expect(findPinningError(trusted)?.code).toBe('ERR_PIN_MISMATCH')
      expect(findDiagnosis(trusted)).toMatchObject({ verdict: 'intercepting-proxy', product: 'mitmproxy', confidence: 'high' })
      expect((trusted as Error).message).toContain('mitmproxy')
      const untrusted = await ask([root.pem])
      expect(findPinningError(untrusted)).toBeUndefined()
      expect(findDiagnosis(untrusted)).toMatchObject({ verdict: 'intercepting-proxy', product: 'mitmproxy', confidence: 'high' })
      expect(server.requests).toEqual([])
    } finally {
      const ended = new Promise((resolve) => proxy.once('close', resolve))
      proxy.kill()
      await ended
      await until(() => proxy.exitCode !== null || proxy.signalCode !== null, 'mitmdump has ended')
      rmSync(folder, { recursive: true, force: true })
      await server.close()
    }
  })
}
