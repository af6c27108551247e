// Failing connections looked at together: what it looks like, why, and a lockdown while it does.
import axios from 'axios'
import { pinAxios } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

// An interceptor in the way, whose CA this machine does not trust.
const root = createAuthority()
const interceptor = await startHttpsServer(createAuthority({ name: 'mitmproxy' }).issue())
const api = axios.create({ baseURL: interceptor.url, proxy: false, headers: { connection: 'close' } })

const threat = new Promise((resolve) => {
  pinAxios(api, {
    allowedSHAFingerprints: [root.issue().pin, root.issue().pin],
    tls: { ca: root.pem },
    onThreat: resolve,
    threatResponse: { lockdownMs: 60_000 }
  })
})
let code
while (code !== 'ERR_PIN_LOCKDOWN') {
  code = await api.get('/').catch((error) => error.code)
  console.log(code)
}
console.log(String(await threat))
console.log('received', interceptor.receivedBytes, 'bytes')
await interceptor.close()
