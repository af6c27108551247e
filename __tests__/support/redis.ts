import { spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createConnection, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'

/** A redis-server of Debian's packages, on the loopback interface, without a disk. */
export interface RedisServer {
  readonly url: string
  readonly port: number
  /** SIGKILL: what a crash looks like to its clients. */
  kill(): Promise<void>
  /** Starts again on the same port, empty. */
  start(): Promise<void>
  /** SIGSTOP: connections stay open, and nothing answers. */
  freeze(): void
  thaw(): void
}

/** Whether the program is there; without it, tests are skipped under a name that says how to get it. */
export const redisInstalled = spawnSync('redis-server', ['--version'], { stdio: 'ignore' }).status === 0

/** `test`, or a test that is skipped and says why. */
export const redisTest: typeof test | typeof test.skip = redisInstalled ? test : ((name: string, ...rest: [jest.ProvidesCallback?, number?]) => test.skip(`${name} (redis-server is not installed: apt-get install redis-server)`, ...rest)) as typeof test.skip

export async function startRedis(): Promise<RedisServer> {
  const port = await freePort()
  let child: ChildProcess | undefined
  const start = async (): Promise<void> => {
    child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], { stdio: 'ignore' })
    for (let tries = 0; tries < 200; tries++) {
      if (await accepts(port)) return
      await new Promise((resume) => setTimeout(resume, 50))
    }
    throw new Error('redis-server does not answer')
  }
  await start()
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    start,
    kill: async () => {
      const ended = child
      child = undefined
      if (!ended || ended.exitCode !== null) return
      const exit = once(ended, 'exit')
      ended.kill('SIGCONT')
      ended.kill('SIGKILL')
      await exit
    },
    freeze: () => void child?.kill('SIGSTOP'),
    thaw: () => void child?.kill('SIGCONT')
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1' })
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}
