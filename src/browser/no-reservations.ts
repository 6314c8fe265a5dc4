/** Stands in for what a relay server keeps its reservations in, and signs them with: at a tab nobody can reserve a place. */
export class ReservationStore {
  reserve(): { status: 'RESERVATION_REFUSED' } {
    return { status: 'RESERVATION_REFUSED' }
  }

  get(): undefined {
    return undefined
  }

  removeReservation(): void {}

  clear(): void {}
}

class Unused {}

export { Unused as ReservationVoucherRecord }
