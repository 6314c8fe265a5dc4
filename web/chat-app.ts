import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit'
import './chat-room.ts'
import './connection-chip.ts'
import './identity-panel.ts'
import './room-invitation.ts'
import './room-list.ts'
import './theme-toggle.ts'
import './welcome.ts'
import { appStyles } from './app-styles.ts'
import { colourOf, initialOf } from './chat-data.ts'
import { RoomModel } from './chat-model.ts'
import type { ChatNode, NodeStatus } from './chat-node.ts'
import type { ChatRoom } from './chat-room.ts'
import { alertIcon } from './icons.ts'
import type { IdentityPanel } from './identity-panel.ts'
import { describeProblem, describeStart, describeStorage } from './problems.ts'
import { onReadElsewhere } from './read-place.ts'
import type { JoinRequest, RoomList } from './room-list.ts'
import { followRooms, idOf, type RoomRef, roomBehind } from './rooms.ts'
import * as settings from './settings.ts'
import { authorStyles, baseStyles, controlStyles } from './styles.ts'
import { forgetRoom } from './unsent-kept.ts'

/** The whole page: who I am, which rooms I am in, which one is shown. */

export type Connect = (onStatus: (status: NodeStatus) => void) => Promise<ChatNode>

export class ChatApp extends LitElement {
  static override properties = {
    connect: { attribute: false },
    node: { state: true },
    self: { state: true },
    status: { state: true },
    name: { state: true },
    rooms: { state: true },
    active: { state: true },
    phoneView: { state: true },
    joinProblem: { state: true },
    joining: { state: true },
    startProblem: { state: true },
    roomChanges: { state: true },
  }
  static override styles = [baseStyles, controlStyles, authorStyles, appStyles]

  declare connect: Connect
  declare node: ChatNode | undefined
  /** As which node the rooms were opened. */
  declare self: string | undefined
  declare status: NodeStatus
  declare name: string
  declare rooms: RoomRef[]
  /** The id of the room that is shown. */
  declare active: string
  /** On a phone the list and the room take turns. */
  declare phoneView: 'rooms' | 'room'
  declare joinProblem: string
  declare joining: boolean
  declare startProblem: string
  declare roomChanges: number

  readonly #models = new Map<string, RoomModel>()
  readonly #narrow = matchMedia('(max-width: 719px)')
  readonly #lookAgain = () => this.requestUpdate()
  #stopFollowing: (() => void)[] = []

  constructor() {
    super()
    this.status = { state: 'connecting', peers: [], bridge: false }
    this.name = settings.loadName()
    this.rooms = settings.loadRooms()
    const stored = settings.loadActiveRoom()
    const [first] = this.rooms
    const isKnown = this.rooms.some((room) => idOf(room) === stored)
    if (isKnown) this.active = stored
    else this.active = first === undefined ? '' : idOf(first)
    this.phoneView = this.active === '' ? 'rooms' : 'room'
    this.joinProblem = ''
    this.joining = false
    this.startProblem = ''
    this.roomChanges = 0
  }

  override connectedCallback(): void {
    super.connectedCallback()
    document.addEventListener('visibilitychange', this.#lookAgain)
    this.#narrow.addEventListener('change', this.#lookAgain)
    this.#stopFollowing = [
      settings.onSetting('rooms', this.#onRoomsElsewhere),
      settings.onSetting('name', this.#onNameElsewhere),
      onReadElsewhere((place) => {
        for (const room of this.#models.values()) room.readElsewhere(place)
      }),
    ]
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    document.removeEventListener('visibilitychange', this.#lookAgain)
    this.#narrow.removeEventListener('change', this.#lookAgain)
    for (const stop of this.#stopFollowing) stop()
  }

  protected override firstUpdated(): void {
    void this.#start()
  }

  protected override willUpdate(changed: PropertyValues<this>): void {
    if (changed.has('node') || changed.has('name') || changed.has('rooms')) this.#openRooms()
    for (const [id, room] of this.#models) room.setActive(id === this.active && this.#roomIsSeen())
  }

  protected override updated(): void {
    const unread = [...this.#models.values()].reduce((sum, room) => sum + room.unread, 0)
    document.title = unread > 0 ? `(${unread}) Sticky chat` : 'Sticky chat'
  }

  protected override render(): TemplateResult {
    if (this.name === '') return html`<chat-welcome @choose-name=${this.#onName}></chat-welcome>`
    const summaries = this.rooms.map((room) => {
      const id = idOf(room)
      const unread = this.#models.get(id)?.unread ?? 0
      return { id, name: room.name, encrypted: room.invite !== undefined, unread }
    })
    return html`<div class="app" data-view=${this.startProblem === '' ? this.phoneView : 'room'}>
        ${this.#drawTop()} ${this.#drawStorageProblem()}
        <nav aria-label="Rooms">
          <room-list
            .rooms=${summaries}
            .active=${this.active}
            .problem=${this.joinProblem}
            .busy=${this.joining}
            @choose-room=${(event: CustomEvent<string>) => this.#choose(event.detail)}
            @join-room=${(event: CustomEvent<JoinRequest>) => void this.#onJoin(event.detail)}
          ></room-list>
        </nav>
        <main>${this.#drawMain()}</main>
      </div>
      <room-invitation
        .node=${this.node}
        @join-room=${(event: CustomEvent<RoomRef>) => this.#joinRoom(event.detail)}
      ></room-invitation>
      <identity-panel
        .node=${this.node}
        .nodeId=${this.self}
        .name=${this.name}
        @rename=${this.#onRename}
      ></identity-panel>`
  }

  #drawTop(): TemplateResult {
    const colour = this.self === undefined ? 0 : colourOf(this.self)
    return html`<header class="top">
      <h1><img src=${new URL('./icon.svg', import.meta.url).href} alt="" /><span>Sticky chat</span></h1>
      <connection-chip .status=${this.status}></connection-chip>
      <theme-toggle></theme-toggle>
      <button
        class="me"
        aria-label=${`You: ${this.name}. Name and identity`}
        title="Name and identity"
        data-testid="identity-open"
        @click=${this.#showIdentity}
      >
        <span class=${`avatar author-${colour}`} aria-hidden="true">${initialOf(this.name)}</span>
      </button>
    </header>`
  }

  #drawStorageProblem(): TemplateResult | typeof nothing {
    const { storageProblem } = this.status
    if (storageProblem === undefined) return nothing
    return html`<p class="storage-problem" role="alert" data-testid="storage-problem">
      ${describeStorage(storageProblem)}
    </p>`
  }

  #drawMain(): TemplateResult {
    const room = this.#models.get(this.active)
    if (this.startProblem !== '') return this.#drawStartProblem()
    // not the room of before: what is written for the encrypted one must not land there
    if (this.joining) return html`<div class="empty" role="status"><p>Making the key of the room…</p></div>`
    if (this.rooms.length === 0) return this.#drawNoRooms()
    if (room === undefined || this.node === undefined)
      return html`<div class="empty" role="status"><p>Connecting to the network…</p></div>`
    return html`<chat-room
      .room=${room}
      .node=${this.node}
      .status=${this.status}
      @back=${this.#showRooms}
      @leave-room=${() => void this.#leaveRoom(room)}
    ></chat-room>`
  }

  #drawStartProblem(): TemplateResult {
    return html`<div class="empty" role="alert">
      ${alertIcon}
      <h2>The chat could not start</h2>
      <p>${this.startProblem}</p>
      <button class="button" @click=${() => void this.#start()}>Try again</button>
    </div>`
  }

  #drawNoRooms(): TemplateResult {
    return html`<div class="empty">
      <h2>Join a room</h2>
      <p>A room is just a name. Type the same one as the others and you are in, with all that was said there before.</p>
      <button class="button" @click=${() => this.#joinRoom({ name: 'lobby' })}>Join the lobby</button>
      <button class="link-button" @click=${this.#focusRoomField}>or type another name</button>
    </div>`
  }

  /** Nobody reads what stands in a tab behind others. */
  #roomIsSeen(): boolean {
    if (document.visibilityState === 'hidden' || this.joining || this.startProblem !== '') return false
    return this.phoneView === 'room' || !this.#narrow.matches
  }

  async #start(): Promise<void> {
    this.startProblem = ''
    try {
      const node = await this.connect((status) => {
        this.status = status
      })
      this.node = node
      this.self = node.nodeId
      this.status = node.status()
      node.onStatus((status) => {
        this.status = status
        this.#followIdentity(node.nodeId)
      })
      this.dispatchEvent(new CustomEvent('node-ready', { detail: node }))
    } catch (error) {
      this.startProblem = describeStart(error)
      this.status = { state: 'offline', peers: [], bridge: false }
    }
  }

  /** All rooms are joined, so that unread messages can be counted in those that are not shown. */
  #openRooms(): void {
    if (this.node === undefined || this.name === '') return
    for (const ref of this.rooms) {
      const id = idOf(ref)
      if (this.#models.has(id)) continue
      const room = new RoomModel(this.node, ref, this.name)
      room.addEventListener('change', this.#onRoomChange)
      this.#models.set(id, room)
      room.open()
    }
  }

  /** Some tab has restored another identity: what this one had said, and waits for, is somebody else's. */
  #followIdentity(nodeId: string): void {
    if (this.self === nodeId) return
    this.self = nodeId
    const before = [...this.#models.values()]
    this.#models.clear()
    this.#openRooms()
    for (const room of before) {
      room.removeEventListener('change', this.#onRoomChange)
      this.#models.get(room.id)?.takeOver(room)
      void room.close()
    }
  }

  readonly #onRoomChange = (): void => {
    this.roomChanges += 1
  }

  async #onJoin({ name, passphrase }: JoinRequest): Promise<void> {
    this.joinProblem = ''
    if (passphrase === undefined) return this.#joinRoom({ name })
    if (this.node === undefined) {
      this.joinProblem = 'An encrypted room can be joined as soon as the chat is connected.'
      return
    }
    this.joining = true
    this.phoneView = 'room'
    try {
      this.#joinRoom(await roomBehind(this.node, name, passphrase))
    } catch (error) {
      this.phoneView = 'rooms'
      this.joinProblem = describeProblem(error)
    } finally {
      this.joining = false
    }
  }

  #joinRoom(room: RoomRef): void {
    this.joinProblem = ''
    const isIn = (rooms: RoomRef[]) => rooms.some((known) => idOf(known) === idOf(room))
    this.rooms = settings.changeRooms(this.rooms, (rooms) =>
      isIn(rooms) || rooms.length >= settings.MAX_ROOMS ? rooms : [...rooms, room],
    )
    if (isIn(this.rooms)) return this.#choose(idOf(room))
    this.joinProblem = `You are in ${settings.MAX_ROOMS} rooms, which is all that fit. Leave one first.`
    this.#showRooms() // on a phone it would be said behind the room
  }

  #choose(id: string): void {
    this.active = id
    this.phoneView = 'room'
    settings.saveActiveRoom(id)
    void this.#focusComposer()
  }

  async #focusComposer(): Promise<void> {
    await this.updateComplete
    const room = this.renderRoot.querySelector<ChatRoom>('chat-room')
    await room?.updateComplete
    room?.focusComposer()
  }

  async #leaveRoom(room: RoomModel): Promise<void> {
    const rooms = settings.changeRooms(this.rooms, (all) => all.filter((ref) => idOf(ref) !== room.id))
    const left = this.#setRooms(rooms)
    forgetRoom(room.id)
    settings.saveActiveRoom(this.active)
    this.joinProblem = ''
    this.#showRooms()
    await left
  }

  /** Another tab has joined or left rooms: all tabs are in the same ones, each shows its own. */
  readonly #onRoomsElsewhere = (now: string | null, before: string | null): void => {
    if (now === null) return // forgotten, not left
    void this.#setRooms(followRooms(this.rooms, settings.roomsIn(now), settings.roomsIn(before)))
  }

  /** Lets go of those that are not among them, and shows the next one where it was shown. */
  async #setRooms(rooms: RoomRef[]): Promise<void> {
    const index = this.rooms.findIndex((ref) => idOf(ref) === this.active)
    this.rooms = rooms
    const ids = new Set(rooms.map(idOf))
    if (!ids.has(this.active)) {
      const next = rooms[Math.min(Math.max(index, 0), rooms.length - 1)]
      this.active = next === undefined ? '' : idOf(next)
      this.phoneView = 'rooms'
    }
    const gone = [...this.#models.values()].filter(({ id }) => !ids.has(id))
    for (const { id } of gone) this.#models.delete(id)
    await Promise.all(
      gone.map((room) => {
        room.removeEventListener('change', this.#onRoomChange)
        return room.leave()
      }),
    )
  }

  /** The keyboard goes along: what had it is hidden on a phone, or gone with the room. */
  #showRooms(): void {
    this.phoneView = 'rooms'
    const list = this.renderRoot.querySelector<RoomList>('room-list')
    void this.updateComplete.then(() => list?.focusRooms())
  }

  #onName(event: CustomEvent<string>): void {
    this.name = event.detail
    settings.saveName(this.name)
    if (this.rooms.length === 0) void this.updateComplete.then(() => this.#focusRoomField())
  }

  #onRename(event: CustomEvent<string>): void {
    this.name = event.detail
    settings.saveName(this.name)
    for (const room of this.#models.values()) room.rename(this.name)
  }

  readonly #onNameElsewhere = (): void => {
    const name = settings.loadName()
    if (name === '') return // forgotten
    this.name = name
    for (const room of this.#models.values()) room.renamedElsewhere(name)
  }

  readonly #focusRoomField = (): void => {
    this.phoneView = 'rooms'
    this.renderRoot.querySelector<RoomList>('room-list')?.focusField()
  }

  #showIdentity(): void {
    this.renderRoot.querySelector<IdentityPanel>('identity-panel')?.show()
  }
}

customElements.define('chat-app', ChatApp)
